'use strict';
'require view';
'require form';
'require tools.widgets as widgets';

const SCHEDULERS = [
	[ 'bond', _('bond: every healthy uplink at once') ],
	[ 'failover', _('failover: the cheapest, the others only when it fails') ],
	[ 'overflow', _('overflow: the cheap ones, the dear ones while those are full') ],
	[ 'latency', _('latency: the quickest') ],
	[ 'spread', _('spread: each connection on one uplink') ]
];

/* otherwise: what it is where nothing is chosen. */
function choice(section, name, title, words, otherwise) {
	const option = section.option(form.ListValue, name, title);

	option.optional = true;
	option.value('', otherwise);
	for (const word of words)
		option.value(...[].concat(word));
	return option;
}

function typed(section, kind, name, title, datatype, placeholder) {
	const option = section.option(kind, name, title);

	option.datatype = datatype;
	option.optional = true;
	option.placeholder = placeholder;
	return option;
}

/* In a list of sections: what it is where nothing is set. */
function unset(option, words) {
	option.textvalue = function(id) {
		return this.cfgvalue(id) == null ? words : this.super('textvalue', [ id ]);
	};
	return option;
}

/* A list of sections, each with a name of its own. */
function grid(map, type, title, description) {
	const section = map.section(form.GridSection, type, title, description);

	section.addremove = true;
	section.anonymous = false;
	section.sortable = true;
	section.nodescriptions = true;
	Object.assign(section.option(form.Flag, 'enabled', _('On')),
		{ 'default': '1', editable: true });
	return section;
}

function addGlobals(map) {
	const section = map.section(form.NamedSection, 'globals', 'globals', _('General'));

	section.option(form.Flag, 'enabled', _('On'));
	const lan = section.option(widgets.NetworkSelect, 'lan', _('Networks whose clients are carried'));
	lan.multiple = true;
	lan.rmempty = false;
	choice(section, 'scheduler', _('Scheduler'), SCHEDULERS, _('as usual: bond'));
	choice(section, 'encryption', _('Encryption'), [
		[ 'auto', _('auto: all that is not TLS already') ], 'always', 'never' ], _('as usual: auto'));
	choice(section, 'when_unreachable', _('Without a concentrator'), [
		[ 'direct', _('direct: by the router\'s normal way') ], [ 'refuse', _('refuse') ] ],
		_('as usual: direct'));
	section.option(form.Flag, 'route_unproxied',
		_('UDP and the like follow the cheapest healthy uplink')).default = '1';
	typed(section, form.DynamicList, 'bypass', _('Destinations left alone'), 'ipaddr',
		'192.0.2.0/24');
	typed(section, form.Value, 'metrics_listen', _('Status page and metrics at'), 'ipaddrport(1)',
		'192.168.1.1:9171');
}

function addConcentrators(map) {
	const section = grid(map, 'concentrator', _('Concentrators'),
		_('In order of preference. Joining by a link, on the status page, adds one.'));

	typed(section, form.Value, 'address', _('Address'), 'ipaddr', '203.0.113.10').optional = false;
	unset(typed(section, form.Value, 'port', _('Port'), 'port', '7171'), '7171');
	typed(section, form.Value, 'key_file', _('Key file'), 'file', '/etc/bondway/NAME.key').modalonly = true;
}

function addUplinks(map) {
	const section = grid(map, 'uplink', _('Uplinks'), _('In order of preference.'));

	const network = section.option(widgets.NetworkSelect, 'network', _('Network'));
	network.nocreate = true;
	unset(network, _('as its name'));
	unset(typed(section, form.Value, 'cost', _('Cost'), 'uinteger', '0'), '0');
	typed(section, form.Value, 'weight', _('Weight'), 'range(1,1000000)', _('by capacity')).modalonly = true;
	section.option(form.Flag, 'metered', _('Metered: its data is paid for'));
	typed(section, form.Value, 'monthly_budget', _('Data budget of a month'), 'string', '50GB').modalonly = true;
	typed(section, form.Value, 'budget_day', _('First day of that month'), 'range(1,31)', '1').modalonly = true;
	choice(section, 'on_budget', _('Beyond the budget'), [ 'standby', 'off' ], _('as usual: standby')).modalonly = true;
	typed(section, form.Value, 'gateway', _('Next hop'), 'ip4addr').modalonly = true;
	typed(section, form.Value, 'gateway6', _('Next hop, IPv6'), 'ip6addr').modalonly = true;
}

function addRules(map) {
	const section = grid(map, 'rule', _('Rules'), _('The first that matches a connection counts.'));

	unset(typed(section, form.DynamicList, 'destinations', _('Destinations'), 'ipaddr'), _('any'));
	unset(typed(section, form.DynamicList, 'ports', _('Ports'), 'portrange'), _('any'));
	unset(typed(section, form.DynamicList, 'clients', _('Clients'), 'or(ipaddr,macaddr)'), _('any'));
	typed(section, form.DynamicList, 'dscp', _('DSCP'), 'range(0,63)').modalonly = true;
	typed(section, form.DynamicList, 'uplinks', _('Uplinks'), 'uciname').modalonly = true;
	choice(section, 'scheduler', _('Scheduler'), SCHEDULERS, _('as above')).modalonly = true;
	choice(section, 'encryption', _('Encryption'), [ 'auto', 'always', 'never' ],
		_('as above')).modalonly = true;
	unset(choice(section, 'action', _('Action'), [ 'proxy', 'direct', 'refuse' ], _('as usual: proxy')),
		'proxy');
}

return view.extend({
	render() {
		const map = new form.Map('bondway', _('Bondway'));

		addGlobals(map);
		addConcentrators(map);
		addUplinks(map);
		addRules(map);
		return map.render();
	}
});
