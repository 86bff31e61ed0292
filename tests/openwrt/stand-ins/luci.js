'use strict';
/* Stands in for LuCI: runs a view with what it requires, as far as its documentation goes, and prints
 * the text of what it renders. usage: node luci.js VIEW ANSWERS, the answers of ubus as JSON. */
const fs = require('fs');
const [ view, answers ] = [ process.argv[2], JSON.parse(process.argv[3] || '{}') ];
const called = [], options = {};

String.prototype.format = function (...args) {
	let n = 0;
	return this.replace(/%(\d*)(\.\d+)?(m?[sdfB]|mB)/g, () => String(args[n++]));
};

class Element {
	constructor(tag, attributes, children) {
		Object.assign(this, { tag, attributes, children: [].concat(children ?? []).flat(9) });
	}
	replaceChildren(...children) {
		this.children = children;
	}
	cells() {
		return this.children.filter(child => child instanceof Element)
			.flatMap(child => child.tag === 'td' ? [ child ] : child.cells());
	}
	text() {
		if (this.tag === 'wbr')
			return '<wbr>';
		const style = this.attributes?.style?.match(/^width:([\d.]+%)/);
		return (style ? [ style[1] ] : []).concat(this.children.map(
			child => child instanceof Element ? child.text() : String(child))).join(' ');
	}
}

const E = (tag, attributes, children) => new Element(tag, attributes, children);
const _ = text => text;

class Option {
	value(value, text) {
		if (value === '')
			this.otherwise = text;
	}
	/* What is shown of it where nothing is set. */
	blank() {
		return this.textvalue?.call({ cfgvalue: () => null }) ?? this.otherwise;
	}
}

class Section {
	constructor(type) {
		this.type = type;
	}
	option(kind, name, title) {
		const option = Object.assign(new Option(), { kind, name, title });
		options[`${this.type}.${name}`] = option;
		return option;
	}
}

const modules = {
	view: { extend: members => members },
	poll: { add: f => { modules.polled = f; } },
	rpc: { declare: ({ method, params }) => (...args) => {
		called.push([ method, ...args ]);
		return Promise.resolve(answers[method]);
	} },
	ui: { createHandlerFn: (self, name, ...args) => () => self[name](...args),
		addNotification: (title, element) => { modules.notified = element.text(); } },
	form: new Proxy({ Map: class {
		section(kind, ...names) {
			return new Section(names[0] === 'globals' ? names[1] : names[0]);
		}
		render() {
			return E('div', {}, 'rendered');
		}
	} }, { get: (known, name) => known[name] ?? { kind: name } }),
	'tools.widgets': { NetworkSelect: {} }
};

(async () => {
	const source = fs.readFileSync(view, 'utf8');
	const required = [ ...source.matchAll(/^'require ([\w.]+)(?: as (\w+))?';/gm) ];
	const names = required.map(([ , name, alias ]) => alias ?? name);
	const it = new Function('E', '_', ...names, source)(
		E, _, ...required.map(([ , name ]) => modules[name]));
	const shown = await it.render(it.load ? await it.load() : undefined);
	await modules.polled?.();
	const titles = shown.cells().map(cell => cell.attributes['data-title'] ?? null);
	const result = { text: shown.text().replaceAll(' <wbr> ', ''), titles, called, options: Object.fromEntries(
		Object.entries(options).map(([ name, option ]) => [ name, option.blank() ?? null ])) };
	if (answers.join) {
		const input = { value: 'bondway1://secret' };
		await it.handleJoin(input);
		Object.assign(result, { notified: modules.notified, left: input.value });
	}
	console.log(JSON.stringify(result));
})();
