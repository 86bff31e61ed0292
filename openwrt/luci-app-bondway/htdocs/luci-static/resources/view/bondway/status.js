'use strict';
'require view';
'require rpc';
'require poll';
'require ui';

/* What the daemon knows is shown as it is: nothing is probed for a page. */
const callStatus = rpc.declare({ object: 'bondway', method: 'status' });
const callFlows = rpc.declare({ object: 'bondway', method: 'flows' });
const callJoin = rpc.declare({ object: 'bondway', method: 'join', params: [ 'link' ] });

const COLOURS = { up: '#2e9e4f', degraded: '#d08700', probing: '#888', dead: '#c0392b', down: '#c0392b' };

function rate(bps) {
	const units = [ 'b/s', 'kb/s', 'Mb/s', 'Gb/s' ];
	let n = 0;

	for (; bps >= 1000 && n < units.length - 1; n++)
		bps /= 1000;
	return '%s %s'.format(bps < 10 && n ? bps.toFixed(1) : Math.round(bps), units[n]);
}

function bytes(n) {
	return '%1000mB'.format(n || 0);
}

function bar(bps, full, label) {
	const width = full > 0 ? Math.min(100, 100 * bps / full) : 0;

	/* Themes want more than a third of a phone's width, which is what a column has there. */
	return E('div', { 'class': 'cbi-progressbar', 'title': label, 'style': 'min-width:7em' },
		E('div', { 'style': 'width:%.1f%%'.format(width) }));
}

/* On a phone a theme leaves the titles out, and puts each cell's own above it. */
function table(titles, rows, empty) {
	const head = E('tr', { 'class': 'tr table-titles' },
		titles.map(title => E('th', { 'class': 'th' }, title)));
	const body = rows.map(cells => E('tr', { 'class': 'tr' },
		cells.map((cell, i) => E('td', { 'class': 'td', 'data-title': titles[i] }, cell || '–'))));

	if (!rows.length)
		body.push(E('tr', { 'class': 'tr placeholder' },
			E('td', { 'class': 'td', 'colspan': titles.length }, empty)));
	return E('table', { 'class': 'table' }, [ head, ...body ]);
}

/* Where it does not fit, it is broken before a colon: "203.0.113.10", and below ":7171". */
function endpoint(text) {
	return text.split(/(?=:)/).flatMap((part, i) => i ? [ E('wbr'), part ] : [ part ]);
}

function state(name) {
	return E('span', { 'style': 'color:%s'.format(COLOURS[name] || 'inherit') }, [ '● ', name ]);
}

/* What it all comes to, as `bondway status` has it. */
function summary(status) {
	const up = list => (list || []).filter(each => each.state === 'up').length;
	const uplinks = status.uplinks || [], n = up(uplinks);

	if (n === 0)
		return [ state('down'), ': ', _('no uplink is up') ];
	if (up(status.concentrators) === 0)
		return [ state('down'), ': ', _('no concentrator is up') ];
	if (n < uplinks.length)
		return [ state('degraded'), ': ', _('%d of %d uplinks are up').format(n, uplinks.length) ];
	return [ state('up') ];
}

/* What an uplink has carried of its month, where that is limited. */
function budget(uplink) {
	const all = uplink.budget;

	return all ? E('div', {}, _('This month: %s of %s').format(bytes(all.used_bytes), bytes(all.limit_bytes))) : '';
}

return view.extend({
	/* The highest rates seen since the page is open: a bar is full there. */
	highest: 1000000,

	load() {
		return Promise.all([ callStatus(), callFlows() ]);
	},

	uplinkRows(uplinks) {
		for (const uplink of uplinks)
			this.highest = Math.max(this.highest, uplink.rx_bps || 0, uplink.tx_bps || 0);
		return uplinks.map(uplink => [
			[ E('strong', {}, uplink.name), ' ', uplink.interface ],
			[ state(uplink.state), uplink.reason ? E('div', {}, uplink.reason) : '' ],
			uplink.role || '',
			uplink.rtt_ms ? _('%d\u00a0ms').format(Math.round(uplink.rtt_ms)) : '',
			bar(uplink.rx_bps || 0, this.highest, '↓ ' + rate(uplink.rx_bps || 0)),
			bar(uplink.tx_bps || 0, this.highest, '↑ ' + rate(uplink.tx_bps || 0)),
			[ '%s / %s'.format(bytes(uplink.rx_bytes), bytes(uplink.tx_bytes)), budget(uplink) ]
		]);
	},

	flowRows(flows) {
		return flows.slice(0, 100).map(flow => [
			endpoint(flow.client || ''), endpoint(flow.destination || ''), flow.scheduler || '',
			'%s / %s'.format(bytes(flow.rx_bytes), bytes(flow.tx_bytes)),
			(flow.subflows || []).map(subflow => subflow.role === 'active' ? subflow.uplink :
				'%s (%s)'.format(subflow.uplink, subflow.role)).join(', ')
		]);
	},

	content([ answer, listed ]) {
		const status = answer.status;

		if (!status)
			return E('div', { 'class': 'alert-message warning' }, [
				E('p', {}, _('bondway does not run: join a concentrator below, or look into the settings and the system log.')), E('p', {}, answer.error || '') ]);
		return E('div', {}, [
			E('p', {}, summary(status)),
			status.intercepting ? '' : E('p', {},
				_('Not intercepting: new connections take the router\'s normal way.')),
			E('h3', {}, _('Uplinks')),
			table([ _('Name'), _('State'), _('Role'), _('Delay'), _('Down'), _('Up'),
				_('Received / sent') ], this.uplinkRows(status.uplinks || []), _('None')),
			E('h3', {}, _('Concentrators')),
			table([ _('Name'), _('Address'), _('State'), _('Note') ],
				(status.concentrators || []).map(each => [
					each.name, endpoint(each.address), state(each.state), each.reason || '' ]), _('None')),
			E('h3', {}, _('Connections')),
			table([ _('Client'), _('Destination'), _('Scheduler'), _('Received / sent'),
				_('Uplinks') ], this.flowRows(listed.flows || []), _('None now'))
		]);
	},

	handleJoin(input) {
		return callJoin(input.value).then(answer => {
			if (answer.error) {
				ui.addNotification(_('Not joined'), E('pre', {}, answer.error), 'error');
				return;
			}
			input.value = '';
			ui.addNotification(null, E('p', {}, _('Joined: bondway is on.')), 'info');
		});
	},

	render(answers) {
		const shown = E('div', {}, this.content(answers));
		/* The link is a secret: it is not kept, nor shown as it is typed. */
		const link = E('input', { 'type': 'password', 'class': 'cbi-input-text',
			'style': 'width:40em; max-width:100%', 'placeholder': 'bondway1://…', 'autocomplete': 'off' });

		poll.add(() => this.load().then(next => {
			shown.replaceChildren(this.content(next));
		}), 2);
		return E('div', {}, [
			E('h2', {}, _('Bondway')), shown,
			E('h3', {}, _('Join a concentrator')),
			E('p', {}, _('The link that "bondway invite" has printed on the VPS:')),
			E('div', { 'style': 'display:flex; flex-wrap:wrap; gap:.5em' }, [ link, E('button', { 'class': 'btn cbi-button-apply',
				'click': ui.createHandlerFn(this, 'handleJoin', link) }, _('Join')) ])
		]);
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
