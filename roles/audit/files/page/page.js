// Shows the audit that the page holds. Whatever comes from a host reaches the page as text nodes only.
(() => {
'use strict';

const audit = JSON.parse(document.getElementById('audit').textContent);
const STATES = ['dropping', 'at_risk', 'unknown', 'ok'];
const STATE_WORDS = {dropping: 'dropping', at_risk: 'at risk', unknown: 'unknown', ok: 'ok'};
const SEVERITIES = ['high', 'medium', 'low'];
const PROTECTIONS = ['not', 'unknown', 'partly', 'met'];
const PROTECTION_WORDS = {not: 'not met', unknown: 'not known', partly: 'partially met', met: 'met'};
const CHANGES = [null, 'new', 'unchanged'];
const MODES = {0: 'off (0)', 1: 'strict (1)', 2: 'loose (2)'};
const HORIZONS = [['now', 'Now'], ['pod', 'Next pod'], ['boot', 'Next boot'], ['restart', 'Restart of systemd-sysctl'],
  ['sysctl_system', 'sysctl --system']];
/** How a sentence names a horizon. */
const WHEN = {pod: 'for the next pod', boot: 'after the next boot', restart: 'after the next restart of systemd-sysctl'};
const PAGE_SIZE = 50;
const RULES_AT_FIRST = 10;
const SMALL = matchMedia('(max-width: 639px)');
const DRAWING_WIDE = matchMedia('(min-width: 900px)');

const pooled = (number) => audit.pool[number];
const find = (id) => document.getElementById(id);
const count = (value) => value.toLocaleString('en');
const counted = (value, noun) => `${count(value)} ${noun}${value === 1 ? '' : 's'}`;

// --- text that others chose ---

const UNSEEN = /[^\n\t \P{C}]|[^ \P{Z}]|[\u115f\u1160\u2800\u3164\uffa0]/gu;
const spelled = (char) => `⟨U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`;

/** What cannot be seen, or turns the text around it, as its number. */
const visible = (text) => String(text).replace(UNSEEN, spelled);

/** The same as an element: isolated from the text around it, the numbers set apart. */
function foreign(text, tag = 'bdi', className = '') {
  const holder = document.createElement(tag);
  if (className) holder.className = className;
  if (tag !== 'bdi') holder.dir = 'ltr';
  const value = String(text);
  let from = 0;
  for (const match of value.matchAll(UNSEEN)) {
    holder.append(value.slice(from, match.index), element('span', {class: 'unseen'}, spelled(match[0])));
    from = match.index + match[0].length;
  }
  holder.append(value.slice(from));
  return holder;
}

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'click') made.addEventListener('click', value);
    else if (value === true) made.setAttribute(name, '');
    else if (value !== null && value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

function drawn(tag, properties = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(properties)) made.setAttribute(name, value);
  made.append(...children.flat(3).filter(Boolean));
  return made;
}

const icon = (state) =>
  drawn('svg', {class: `mark ${state}`, 'aria-hidden': 'true', width: 16, height: 16}, drawn('use', {href: `#mark-${state}`}));
const stateMark = (state) => element('span', {class: `state ${state}`}, icon(state), STATE_WORDS[state]);
const severityMark = (severity) =>
  element('span', {class: `severity ${severity}`}, element('span', {'aria-hidden': 'true'}, severity[0].toUpperCase()),
    element('span', {class: 'full'}, severity));
const letterMark = (severity, ...words) => element('span', {class: `severity ${severity} bare`},
  element('span', {'aria-hidden': 'true'}, severity[0].toUpperCase()), element('span', {class: 'offscreen'}, ` ${severity}`, ...words));
const tag = (kind, ...words) => element('span', {class: `tag ${kind}`}, ...words);
const mode = (value) => (value === null || value === undefined ? 'not known' : MODES[value] || String(value));
const place = (line) => (line.line === null ? line.path : `${line.path}:${line.line}`);
/** The same to be read: a path that is written from the right does not take the line along. */
const placed = (line) => element('span', {class: 'path', dir: 'ltr'}, foreign(line.path, 'span'), line.line === null ? null : `:${line.line}`);
const moment = (stamp) => stamp.replace('T', ' ').replace(/(:00)?Z$/, ' UTC');

// --- copying ---

const announce = (text) => { find('said').textContent = text; };

async function copy(text, holder) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch (refused) {
    // The older way: not every browser gives a file:// page its clipboard.
    const field = element('textarea', {class: 'offscreen', readonly: true, 'aria-hidden': 'true', tabindex: '-1'});
    field.value = text;
    holder.append(field);
    field.select();
    const done = document.execCommand('copy');
    field.remove();
    return done;
  }
}

/** Text to copy, and its button. What holds unseen characters is not copied: it could run something else. */
function copyable(text, what, preformatted = false) {
  const shown = foreign(text, preformatted ? 'pre' : 'code');
  const hidden = visible(text) !== text || (!preformatted && /[\n\t]/.test(text));
  if (hidden) {
    return element('div', {class: 'copyable'}, shown,
      element('p', {class: 'note'}, 'Holds characters that cannot be seen; copy it by hand if you trust them.'));
  }
  const button = element('button', {type: 'button', class: 'copy'}, 'Copy', element('span', {class: 'offscreen'}, ` ${what}`));
  button.addEventListener('click', async () => {
    const done = await copy(text, button.parentNode);
    button.focus();
    button.firstChild.data = done ? 'Copied' : 'Press Ctrl+C';
    if (!done) getSelection().selectAllChildren(shown);
    announce(done ? `Copied ${what}.` : 'The browser did not let it be copied: it is selected, press Ctrl+C.');
    setTimeout(() => { button.firstChild.data = 'Copy'; }, 2000);
  });
  return element('div', {class: `copyable${preformatted ? ' tall' : ''}`}, shown, button);
}

// --- the state, which is the address ---

const nodes = audit.nodes.map((node, index) => ({
  ...node,
  index,
  state: STATES[node.state],
  protection: {met: 'met', partially_met: 'partly', not_met: 'not', unknown: 'unknown'}[node.attestation[0]],
  counts: (node.counts || []).map(([rule, severity, ...sums]) => ({
    rule, severity, sums, counting: sums[0] + sums[1], waived: sums[2] + sums[3], fresh: sums[1], freshWaived: sums[3],
  })),
}));
// Of each rule the worst severity that it has anywhere: a finding may be severer, or milder, than its rule.
const worst = new Map();
for (const node of nodes) {
  node.byRule = new Map();
  node.fresh = 0;
  for (const each of node.counts) {
    const known = node.byRule.get(each.rule) || {counting: 0, waived: 0, severity: SEVERITIES.length};
    node.byRule.set(each.rule, {counting: known.counting + each.counting, waived: known.waived + each.waived,
      severity: Math.min(known.severity, each.severity)});
    node.fresh += each.fresh + each.freshWaived;
    worst.set(each.rule, Math.min(worst.get(each.rule) ?? SEVERITIES.length, each.severity));
  }
}
const occurring = [...worst.keys()].sort((one, other) => worst.get(one) - worst.get(other) || one - other);
const severityOf = (rule) => SEVERITIES[worst.get(rule)];

// What an address can carry of a name: it knows no half characters.
const inAddress = (name) => new URLSearchParams([['n', name]]).get('n');
const byAddress = new Map(nodes.map((node) => [inAddress(node.name), node]));

const LINES = audit.lines.map(([path, line]) => inAddress(place({path, line})));
const wordsOf = (text, allowed) => new Set((text || '').split(',').filter((word) => allowed.includes(word)));

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const sort = given.get('sort') || 'state';
  return {
    node: given.get('node'),
    states: wordsOf(given.get('state'), STATES),
    protections: wordsOf(given.get('protection'), PROTECTIONS),
    severities: wordsOf(given.get('severity'), SEVERITIES),
    rule: audit.ids.indexOf(given.get('id')),
    line: LINES.indexOf(given.get('line')),
    fresh: given.get('new') === '1',
    waived: ['only', 'without'].includes(given.get('waived')) ? given.get('waived') : '',
    text: given.get('q') || '',
    sort: sort.replace(/^-/, ''),
    descending: sort.startsWith('-'),
    page: Math.max(1, parseInt(given.get('page'), 10) || 1),
    way: Math.max(1, parseInt(given.get('way'), 10) || 1),
  };
}

function addressOf(wanted) {
  const told = new URLSearchParams();
  const put = (name, value) => { if (value) told.set(name, value); };
  put('node', wanted.node);
  put('way', wanted.node !== null && wanted.way > 1 && String(wanted.way));
  put('state', [...wanted.states].join(','));
  put('protection', [...wanted.protections].join(','));
  put('severity', [...wanted.severities].join(','));
  put('id', wanted.rule >= 0 && audit.ids[wanted.rule]);
  put('line', wanted.line >= 0 && LINES[wanted.line]);
  put('new', wanted.fresh && '1');
  put('waived', wanted.waived);
  put('q', wanted.text);
  const sort = (wanted.descending ? '-' : '') + wanted.sort;
  put('sort', sort !== 'state' && sort);
  put('page', wanted.page > 1 && String(wanted.page));
  return `#${told}`;
}

const NOTHING = {states: new Set(), protections: new Set(), severities: new Set(), rule: -1, line: -1, fresh: false, waived: '', text: '', page: 1};
let view = readAddress();

/** Goes to a changed state. A step that one wants to come back to is an entry of the history. */
function go(change) {
  noteDown();
  view = {...view, page: 1, way: 1, ...change};
  history.pushState(null, '', addressOf(view));
  show();
}

let writing = 0;
function goQuietly(change) {
  view = {...view, page: 1, ...change};
  clearTimeout(writing);
  // Browsers allow a page only so many of these.
  writing = setTimeout(noteDown, 250);
  renderMatrix();
}

/** What was typed is in the address before one leaves it. */
function noteDown() {
  if (!writing) return;
  clearTimeout(writing);
  writing = 0;
  history.replaceState(null, '', addressOf(view));
}

function toggled(set, word) {
  const changed = new Set(set);
  if (!changed.delete(word)) changed.add(word);
  return changed;
}

// --- which nodes, in which order ---

// A search looks through a node's own words and through what it shares with others, which is looked at once for all.
function ownWords(node) {
  if (node.words === undefined) {
    const words = [node.name, node.summary, node.reason, `spoof protection ${PROTECTION_WORDS[node.protection]}`];
    node.shares = [node.horizons, node.uplinks];
    for (const [pod, address, device, back, , , , , , setBy] of node.paths || []) {
      words.push(pod, address, device, back);
      node.shares.push(...setBy.map(([, number]) => number));
    }
    for (const finding of node.findings || []) {
      words.push(audit.ids[finding[0]], finding[2]);
      // What names no line is hardly ever shared.
      if (pooled(finding[5]).path === null) words.push(sharedWords(finding[5]));
      else node.shares.push(finding[5]);
    }
    for (const [, names] of node.cut || []) words.push(...names);
    node.shares = [...new Set(node.shares)].filter((number) => number !== undefined);
    node.words = words.filter(Boolean).join('\n').toLowerCase();
  }
  return node.words;
}

const wordsShared = [];
function sharedWords(number) {
  if (wordsShared[number] === undefined) wordsShared[number] = wordsIn(pooled(number)).join('\n').toLowerCase();
  return wordsShared[number];
}

/** All texts in a value, path and line as one, key and value as well. */
function wordsIn(value) {
  if (typeof value === 'string') return [value];
  if (value === null || typeof value !== 'object') return [];
  return [value.path && place(value), value.key && `${value.key} = ${value.value}`, ...Object.values(value).flatMap(wordsIn)]
    .filter(Boolean);
}

/** Whether a node has a term. */
function searched(term) {
  const known = new Int8Array(audit.pool.length);
  const isShared = (number) => {
    if (!known[number]) known[number] = sharedWords(number).includes(term) ? 1 : -1;
    return known[number] > 0;
  };
  return (node) => ownWords(node).includes(term) || node.shares.some(isShared);
}

/** What a search looks through is made ready while nothing else is to do. */
function prepareSearch(deadline, from = 0) {
  let next = from;
  while (next < nodes.length && deadline.timeRemaining() > 1) {
    ownWords(nodes[next]);
    nodes[next++].shares.forEach(sharedWords);
  }
  if (next < nodes.length) requestIdleCallback((later) => prepareSearch(later, next));
  else document.documentElement.setAttribute('data-ready', 'search');
}

function found(node, each) {
  if (view.rule >= 0 && each.rule !== view.rule) return false;
  if (view.severities.size && !view.severities.has(SEVERITIES[each.severity])) return false;
  const [old, fresh, waived, freshWaived] = each.sums;
  const plain = view.waived === 'only' ? 0 : fresh + (view.fresh ? 0 : old);
  const excused = view.waived === 'without' ? 0 : freshWaived + (view.fresh ? 0 : waived);
  return plain + excused > 0;
}

function chosen() {
  // Words in quotes belong together.
  const terms = (view.text.toLowerCase().match(/"[^"]+"(?!\S)|\S+/g) || []).map((term) => searched(term.replace(/^"(.+)"$/, '$1')));
  const byFinding = view.rule >= 0 || view.severities.size || view.fresh || view.waived === 'only';
  return nodes.filter((node) =>
    (!view.states.size || view.states.has(node.state))
    && (!view.protections.size || view.protections.has(node.protection))
    && (view.line < 0 || (node.lines || []).includes(view.line))
    && (!byFinding || node.counts.some((each) => found(node, each)))
    && terms.every((has) => has(node)));
}

const collator = new Intl.Collator('en', {numeric: true});
const byName = nodes.slice().sort((one, other) => collator.compare(one.name, other.name) || one.index - other.index);
byName.forEach((node, rank) => { node.rank = rank; });

const weight = (node, rule) => {
  const sums = node.byRule.get(rule);
  return sums ? sums.counting + sums.waived / 1e6 : 0;
};
function sortKey(column) {
  if (column === 'name') return (node) => node.rank;
  if (column === 'protection') return (node) => PROTECTIONS.indexOf(node.protection);
  if (column === 'pods') return (node) => (knowsPods(node) ? node.endpoints[4] : -1);
  if (column === 'new') return (node) => node.fresh + (node.gone ? node.gone.length / 1e6 : 0);
  const rule = audit.ids.indexOf(column);
  if (rule >= 0) return (node) => weight(node, rule);
  return (node) => STATES.indexOf(node.state);
}

function sorted(some) {
  const key = sortKey(view.sort);
  const sign = view.descending ? -1 : 1;
  return some.slice().sort((one, other) => sign * (key(one) - key(other)) || one.rank - other.rank);
}

/** The nodes on which a rule found something. */
const linkToRule = (id) => addressOf({...view, ...NOTHING, node: null, way: 1, rule: audit.ids.indexOf(id)});
const ruleId = (id) => (occurring.includes(audit.ids.indexOf(id))
  ? element('a', {class: 'id', href: linkToRule(id), title: 'All nodes with this finding'}, id) : element('span', {class: 'id'}, id));

// --- the list ---

const linkTo = (node) => addressOf({...view, node: node.name, way: 1});

function toggle(label, pressed, click, className = 'toggle') {
  return element('button', {type: 'button', class: className, 'aria-pressed': String(pressed), click}, label);
}

/** Buttons that show the state of a filter: what they are, and how to tell whether they are pressed. */
const pressables = [];
function filterButton(label, isPressed, change, className) {
  const button = toggle(label, false, () => go(change()), className);
  pressables.push([button, isPressed]);
  return button;
}

function buildFigures() {
  find('figures').replaceChildren(...STATES.map((state) => element('li', {},
    filterButton(
      [element('b', {}, count(audit.totals[state])), element('span', {class: 'word'}, icon(state), STATE_WORDS[state])],
      () => view.states.has(state),
      () => ({states: toggled(view.states, state)}),
      `figure ${state}`,
    ))));
}

function ruleSums() {
  const sums = new Map(occurring.map((rule) => [rule, {nodes: 0, counting: 0, fresh: 0, waived: 0}]));
  for (const node of nodes) {
    for (const [rule, {counting, waived}] of node.byRule) {
      const sum = sums.get(rule);
      sum.nodes += counting > 0;
      sum.counting += counting;
      sum.waived += waived;
    }
    for (const each of node.counts) sums.get(each.rule).fresh += each.fresh;
  }
  return sums;
}

function heads(...names) {
  return element('thead', {}, element('tr', {}, names.map(([name, className]) =>
    element('th', {scope: 'col', class: className || null}, name))));
}

const some = (value) => (value ? count(value) : element('span', {class: 'nil'}, '0'));

function buildRules() {
  if (!occurring.length) return element('p', {class: 'empty'}, 'Nothing was found on any node.');
  const sums = ruleSums();
  const rows = occurring.map((rule) => {
    const known = audit.rules[rule];
    const sum = sums.get(rule);
    return element('tr', {'data-rule': rule},
      element('th', {scope: 'row'}, filterButton(
        [element('span', {class: 'id'}, audit.ids[rule]), element('span', {class: 'what'}, visible(known.title))],
        () => view.rule === rule,
        () => ({rule: view.rule === rule ? -1 : rule}),
        'rule',
      )),
      element('td', {}, severityMark(severityOf(rule))),
      element('td', {class: 'number'}, some(sum.nodes)),
      element('td', {class: 'number spare'}, some(sum.counting)),
      audit.baseline && element('td', {class: 'number'}, some(sum.fresh)),
      audit.totals.waived ? element('td', {class: 'number spare'}, some(sum.waived)) : null);
  });
  const later = rows.length > RULES_AT_FIRST + 2 ? rows.slice(RULES_AT_FIRST) : [];
  const unfold = element('button', {type: 'button', class: 'quiet unfold', 'aria-expanded': 'false', click: () =>
    fold(unfold.getAttribute('aria-expanded') === 'true')}, `All ${rows.length} kinds of findings`);
  const fold = (folded) => {
    unfold.setAttribute('aria-expanded', String(!folded));
    later.forEach((one) => one.classList.toggle('folded', folded));
  };
  // Not where the filter is one of them: it must be seen.
  fold(!later.some((one) => view.rule === Number(one.dataset.rule)));
  return element('div', {class: 'scroll', role: 'region', tabindex: '0', 'aria-label': 'What was found, as a table'},
    element('table', {class: 'rules'},
      heads(['Finding'], ['Severity', 'brief'], ['Nodes', 'number'], ['Findings', 'number spare'],
        ...(audit.baseline ? [['New', 'number']] : []), ...(audit.totals.waived ? [['Waived', 'number spare']] : [])),
      element('tbody', {}, rows)), later.length ? unfold : null);
}

function buildLines() {
  const items = audit.lines.map(([path, line, text, among, worst], index) => element('li', {},
    filterButton(
      [placed({path, line}), text && foreign(text, 'bdi', 'line')],
      () => view.line === index,
      () => ({line: view.line === index ? -1 : index}),
      'where',
    ),
    element('span', {class: 'among'}, letterMark(SEVERITIES[worst]), ' ', counted(among, 'node'))));
  return element('section', {'aria-labelledby': 'lines'},
    element('h2', {id: 'lines'}, 'Whose lines'),
    items.length ? element('ol', {class: 'lines'}, items)
      : element('p', {class: 'empty'}, 'No line of a file is behind what was found.'),
    audit.more_lines ? element('p', {class: 'note'}, `${counted(audit.more_lines, 'more line')}, all in audit.json.`) : null);
}

function waiverState(waiver) {
  if (waiver.expired) return [tag('expired', 'expired'), waiver.matched ? ` ${counted(waiver.matched, 'finding')} ${waiver.matched === 1 ? 'counts' : 'count'} again` : ''];
  if (!waiver.matched) return [tag('quiet', 'matches nothing')];
  return [tag('waived', 'in force'), ` ${counted(waiver.matched, 'finding')}`];
}

function buildWaivers() {
  if (!audit.waivers.length) return null;
  return element('section', {'aria-labelledby': 'waivers'},
    element('h2', {id: 'waivers'}, 'Waivers'),
    element('ul', {class: 'waivers'}, audit.waivers.map((waiver) => element('li', {},
      element('p', {class: 'head'}, ruleId(waiver.id), ' on ', foreign(waiver.hosts, 'code'), ' ',
        ...waiverState(waiver)),
      element('p', {}, foreign(waiver.justification)),
      element('p', {class: 'note'}, waiver.expires ? `${waiver.expired ? 'Held' : 'Holds'} until ${waiver.expires}` : 'Holds for ever')))));
}

function names(list, most = 20) {
  const told = list.slice(0, most).flatMap((name, index) => [index ? ', ' : '', foreign(name)]);
  return list.length > most ? [...told, ` and ${count(list.length - most)} more, all in audit.json`] : told;
}

function buildBaseline() {
  const baseline = audit.baseline;
  if (!baseline) return null;
  const kept = [];
  if (baseline.not_compared.length) kept.push(element('p', {}, 'Not compared, as they could not be judged then or now: ', ...names(baseline.not_compared)));
  if (baseline.missing.length) kept.push(element('p', {}, 'In the baseline and not in this audit: ', ...names(baseline.missing)));
  if (!kept.length) return null;
  return element('section', {'aria-labelledby': 'baseline'}, element('h2', {id: 'baseline'}, 'Left out of the comparison'), kept,
    element('p', {class: 'note'}, 'Their findings are not counted as gone.'));
}

/** Buttons of which each lets more through. */
const choices = (label, member, words, mark) =>
  element('div', {class: `field ${member}`, role: 'group', 'aria-label': label},
    element('span', {class: 'label', 'aria-hidden': 'true'}, label),
    element('div', {class: 'choices'}, words.map((word) =>
      filterButton(mark(word), () => view[member].has(word), () => ({[member]: toggled(view[member], word)})))));

let searchField, waivedChoice, sortChoice, clearButton, matrixHolder, pager, tally;
const columnHeads = new Map();

function buildFilters() {
  searchField = element('input', {type: 'search', id: 'search', autocomplete: 'off', spellcheck: 'false', 'aria-keyshortcuts': '/',
    placeholder: 'node, pod, device, file:line'});
  searchField.addEventListener('input', () => goQuietly({text: searchField.value}));
  const options = [['', 'counted and waived'], ['without', 'not waived'], ['only', 'waived only']];
  waivedChoice = element('select', {id: 'waived'}, options.map(([value, word]) => element('option', {value}, word)));
  waivedChoice.addEventListener('change', () => go({waived: waivedChoice.value}));
  const sorts = [['state', 'worst first'], ['name', 'name'], ['protection', 'spoof protection'], ['-pods', 'pods dropping'], ['-new', 'new and gone'],
    ...occurring.map((rule) => [`-${audit.ids[rule]}`, audit.ids[rule]])];
  sortChoice = element('select', {id: 'sort'}, sorts.map(([value, word]) => element('option', {value}, word)));
  sortChoice.addEventListener('change', () =>
    go({sort: sortChoice.value.replace(/^-/, ''), descending: sortChoice.value.startsWith('-')}));
  clearButton = element('button', {type: 'button', class: 'quiet', click: () => { go(NOTHING); searchField.focus(); }}, 'Clear filters');
  return element('div', {class: 'filters', role: 'search', 'aria-label': 'Nodes'},
    element('div', {class: 'field grow'}, element('label', {for: 'search'}, 'Search ', element('kbd', {'aria-hidden': 'true'}, '/')), searchField),
    choices('Severity', 'severities', SEVERITIES, severityMark),
    choices('Spoof protection', 'protections', PROTECTIONS, (word) => PROTECTION_WORDS[word]),
    audit.baseline && element('div', {class: 'field'}, element('span', {class: 'label', 'aria-hidden': 'true'}, 'Since baseline'),
      filterButton('New only', () => view.fresh, () => ({fresh: !view.fresh}))),
    audit.totals.waived || audit.waivers.length
      ? element('div', {class: 'field'}, element('label', {for: 'waived'}, 'Findings'), waivedChoice) : null,
    element('div', {class: 'field for-cards'}, element('label', {for: 'sort'}, 'Sort by'), sortChoice));
}

/** A column's head sorts. Numbers begin with the most, names with the first. */
function columnHead(column, label, title, className, descendingFirst) {
  const button = element('button', {type: 'button', title: title || null, click: () => {
    const same = view.sort === column;
    go({sort: column, descending: same ? !view.descending : descendingFirst});
  }}, label);
  const head = element('th', {scope: 'col', class: className || null}, button);
  columnHeads.set(column, head);
  return head;
}

function buildMatrix() {
  const row = element('tr', {},
    columnHead('name', 'Node', null, 'node', false),
    columnHead('state', 'State', 'Worst first', 'state-column', false),
    columnHead('protection', ['Spoof', element('br'), 'protection'], "Met where every interface by which packets enter is strict, now and later; partially met where some are loose", null, false),
    columnHead('pods', ['Pods', element('br'), 'dropping'], 'Endpoints whose packets are dropped, of all', 'number', true),
    audit.baseline && columnHead('new', ['New', element('br'), 'and gone'], 'Findings that the baseline has not, and those that it had', 'number', true),
    occurring.map((rule) => {
      const known = audit.rules[rule];
      return columnHead(audit.ids[rule],
        [element('span', {class: 'prefix'}, audit.ids[rule].slice(0, 3)), element('span', {class: 'digits'}, audit.ids[rule].slice(3)),
          letterMark(severityOf(rule), `: ${visible(known.title)}`)],
        `${visible(known.title)} (${severityOf(rule)})`, 'finding', true);
    }));
  matrixHolder = {
    body: element('tbody'),
    cards: element('ul', {class: 'cards'}),
    empty: element('div', {class: 'empty', hidden: true}, element('p', {}, 'No node matches. '),
      element('button', {type: 'button', click: () => { go(NOTHING); searchField.focus(); }}, 'Clear filters')),
  };
  matrixHolder.region = element('div', {class: 'matrix', role: 'region', tabindex: '0', 'aria-label': 'Nodes and findings'},
    element('table', {}, element('caption', {class: 'offscreen'}, 'Nodes and the number of findings of each kind. The heads sort.'),
      element('thead', {}, row), matrixHolder.body));
  matrixHolder.body.addEventListener('keydown', walkRows);
  // Browsers leave alone what is to be seen in part.
  matrixHolder.region.addEventListener('focusin', ({target}) => {
    if (target.matches(':is(a, button):focus-visible')) target.scrollIntoView({block: 'nearest', inline: 'nearest'});
  });
  return [matrixHolder.region, matrixHolder.cards, matrixHolder.empty];
}

/** Up and down go from node to node. */
function walkRows(event) {
  const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
  if (!step || event.target.tagName !== 'A' || event.altKey || event.ctrlKey || event.metaKey) return;
  const links = [...matrixHolder.body.querySelectorAll('a')];
  const next = links[links.indexOf(event.target) + step];
  if (next) { next.focus(); event.preventDefault(); }
}

function buildPager() {
  const step = (by, word) => element('button', {type: 'button', click(event) {
    if (event.currentTarget.getAttribute('aria-disabled') === 'true') return;
    go({page: view.page + by});
    matrixHolder.region.scrollTop = 0;
  }}, word);
  pager = {back: step(-1, 'Previous'), on: step(1, 'Next'), where: element('span')};
  pager.holder = element('nav', {class: 'pager', 'aria-label': 'Pages of nodes'}, pager.back, pager.where, pager.on);
  return pager.holder;
}

function cell(node, rule) {
  const sums = node.byRule.get(rule);
  if (!sums) return element('td', {class: 'finding'});
  return element('td', {class: 'finding'},
    sums.counting ? element('span', {class: `amount ${SEVERITIES[sums.severity]}`}, count(sums.counting)) : null,
    sums.waived ? element('span', {class: 'amount excused'}, count(sums.waived), element('span', {class: 'offscreen'}, ' waived')) : null);
}

/** Whether anything is known of its pods: none where nothing could be seen is not none. */
const knowsPods = (node) => Boolean(node.endpoints) && (node.state !== 'unknown' || node.endpoints[4] > 0);
const hasNoPods = (node) => knowsPods(node) && node.endpoints[0] === 0;

function pods(node) {
  if (node.by_files) return element('span', {class: 'nil'}, 'not applicable');
  if (!knowsPods(node)) return element('span', {class: 'nil'}, 'unknown');
  const [total, , , , dropping] = node.endpoints;
  if (!total) return element('span', {class: 'nil'}, 'none');
  return [dropping ? element('b', {}, count(dropping)) : element('span', {class: 'nil'}, '0'), element('span', {class: 'of'}, ` / ${count(total)}`)];
}

function changes(node) {
  const gone = node.gone ? node.gone.length : 0;
  return [node.fresh ? element('b', {}, `+${count(node.fresh)}`) : null, node.fresh && gone ? ' ' : null,
    gone ? element('span', {class: 'of'}, `\u2212${count(gone)}`) : null];
}

const because = (why) => element('p', {class: 'because', title: visible(why)}, foreign(why));

function row(node) {
  return element('tr', {},
    element('th', {scope: 'row', class: 'node'}, element('a', {href: linkTo(node)}, foreign(node.name)),
      node.state === 'unknown' ? because(node.reason || node.summary) : null),
    element('td', {class: 'state-column'}, stateMark(node.state)),
    element('td', {class: `protection ${node.protection}`}, PROTECTION_WORDS[node.protection]),
    element('td', {class: 'number pods'}, pods(node)),
    audit.baseline && element('td', {class: 'number'}, changes(node)),
    occurring.map((rule) => cell(node, rule)));
}

function card(node) {
  const told = occurring.filter((rule) => node.byRule.has(rule)).map((rule) => {
    const {counting, waived, severity} = node.byRule.get(rule);
    return element('li', {}, letterMark(SEVERITIES[severity]), ' ', ruleId(audit.ids[rule]), ' ',
      counting ? element('b', {}, count(counting)) : null,
      waived ? element('span', {class: 'amount excused'}, count(waived), element('span', {}, ' waived')) : null);
  });
  return element('li', {class: 'card'},
    element('p', {class: 'head'}, element('a', {href: linkTo(node)}, foreign(node.name)), stateMark(node.state)),
    element('p', {}, foreign(sentence(node.summary))),
    element('p', {class: `protection ${node.protection}`}, `Spoof protection ${PROTECTION_WORDS[node.protection]}`),
    told.length ? element('ul', {class: 'ids'}, told) : null);
}

function filterWords() {
  const words = [...view.states].map((state) => STATE_WORDS[state]);
  words.push(...[...view.protections].map((word) => `spoof protection ${PROTECTION_WORDS[word]}`));
  words.push(...[...view.severities].map((severity) => `severity ${severity}`));
  if (view.rule >= 0) words.push(audit.ids[view.rule]);
  if (view.line >= 0) words.push(visible(LINES[view.line]));
  if (view.fresh) words.push('new');
  if (view.waived) words.push(view.waived === 'only' ? 'waived only' : 'not waived');
  if (view.text) words.push(`matching "${visible(view.text)}"`);
  return words;
}

let printing = false;

function renderMatrix() {
  const all = sorted(chosen());
  const pages = Math.max(1, Math.ceil(all.length / PAGE_SIZE));
  view.page = Math.min(view.page, pages);
  const from = (view.page - 1) * PAGE_SIZE;
  const shown = printing ? all : all.slice(from, from + PAGE_SIZE);
  const cards = SMALL.matches && !printing;
  matrixHolder.body.replaceChildren(...(cards ? [] : shown.map(row)));
  matrixHolder.cards.replaceChildren(...(cards ? shown.map(card) : []));
  matrixHolder.region.hidden = cards || !all.length;
  matrixHolder.cards.hidden = !cards || !all.length;
  matrixHolder.empty.hidden = Boolean(all.length) || !nodes.length;
  for (const [column, head] of columnHeads) {
    if (view.sort === column) head.setAttribute('aria-sort', view.descending ? 'descending' : 'ascending');
    else head.removeAttribute('aria-sort');
  }
  for (const [button, isPressed] of pressables) button.setAttribute('aria-pressed', String(isPressed()));
  if (searchField.value !== view.text) searchField.value = view.text;
  waivedChoice.value = view.waived;
  sortChoice.value = (view.descending ? '-' : '') + view.sort;
  const words = filterWords();
  clearButton.hidden = !words.length;
  const told = words.length ? `${count(all.length)} of ${counted(nodes.length, 'node')}: ${words.join(', ')}` : counted(nodes.length, 'node');
  if (tally.textContent !== told) tally.textContent = told;
  pager.holder.hidden = pages < 2;
  pager.where.textContent = `${count(from + 1)} to ${count(Math.min(from + PAGE_SIZE, all.length))} of ${count(all.length)}`;
  pager.back.setAttribute('aria-disabled', String(view.page === 1));
  pager.on.setAttribute('aria-disabled', String(view.page === pages));
}

function buildList() {
  buildFigures();
  tally = element('p', {class: 'tally', role: 'status'});
  find('overview').replaceChildren(...[
    element('section', {class: 'findings', 'aria-labelledby': 'found'}, element('h2', {id: 'found'}, 'What was found'), buildRules()),
    buildLines(),
    element('section', {class: 'nodes', 'aria-labelledby': 'nodes'},
      element('h2', {id: 'nodes'}, 'Nodes'),
      buildFilters(),
      element('div', {class: 'under'}, tally, clearButton),
      buildMatrix(),
      buildPager(),
      element('p', {class: 'note keys'}, element('kbd', {}, '/'), ' searches, ', element('kbd', {}, 'Esc'), ' clears, ',
        element('kbd', {}, '↑'), ' ', element('kbd', {}, '↓'), ' go from node to node, ', element('kbd', {}, 'Enter'),
        ' opens one. Printed are all nodes that the filters leave.'),
      element('p', {class: 'note sees'}, 'A search looks through names, summaries, spoof protection ("not met" in quotes), findings, lines of files and uplinks, '
        + `and through the pods and interfaces that drop packets. Of one kind it sees ${audit.limits.full + audit.limits.named} findings on a node; `
        + 'pods that are well, and their devices, are in audit.json only, but for the one that is drawn.')),
    buildWaivers(),
    buildBaseline(),
  ].filter(Boolean));
}

// --- a node ---

function buildNode(node) {
  const held = (heading, id, ...content) =>
    element('section', {class: id, 'aria-labelledby': id}, element('h2', {id}, heading), ...content);
  const order = sorted(chosen());
  const at = order.indexOf(node);
  const neighbour = (other, word, arrow) => (other ? element('a', {href: linkTo(other), rel: word}, arrow ? `${word} ` : '',
    foreign(other.name)) : null);
  const age = node.gathered_at && (audit.source !== 'run' || node.gathered_at.slice(0, 10) !== audit.generated.slice(0, 10));
  return [
    element('nav', {class: 'trail', 'aria-label': 'Between nodes'},
      element('a', {href: addressOf({...view, node: null}), class: 'back'}, '← All nodes'),
      at >= 0 && order.length > 1 ? element('span', {class: 'siblings'},
        neighbour(order[at - 1], 'Previous', true), neighbour(order[at + 1], 'Next', true)) : null),
    element('header', {class: 'opening'},
      stateMark(node.state),
      element('h1', {id: 'node-name', tabindex: '-1'}, foreign(node.name)),
      element('p', {class: 'summary'}, foreign(sentence(node.summary))),
      node.reason ? element('div', {class: 'reason'}, foreign(node.reason, 'pre')) : null,
      element('ul', {class: 'about'},
        age ? element('li', {}, `Facts gathered ${moment(node.gathered_at)}`) : null,
        node.counters && node.counters.ip_reverse_path_filter !== null
          ? element('li', {}, `${counted(node.counters.ip_reverse_path_filter, 'packet')} dropped by the filter since boot`) : null,
        node.by_files ? element('li', {}, 'Judged by its files alone: ', foreign(node.by_files)) : null)),
    held('The packet\'s way', 'way', ...buildWay(node)),
    node.horizons !== undefined ? held('Now, and what comes next', 'horizons', buildHorizons(pooled(node.horizons), hasNoPods(node), node.by_files)) : null,
    node.cures ? held('Ways out', 'cures', ...buildCures(node)) : null,
    held(node.findings ? `Findings: ${count(total(node))}` : 'Findings', 'node-findings', ...buildFindings(node)),
    node.endpoints ? held('Endpoints', 'endpoints', ...buildEndpoints(node)) : null,
    node.horizons !== undefined ? held('Uplinks', 'uplinks', buildUplinks(pooled(node.uplinks), node.by_files)) : null,
    node.gone ? held('Gone since the baseline', 'gone', element('ul', {class: 'gone-list'}, node.gone.map(([id, severity, subject]) =>
      element('li', {}, ruleId(id), ' ', severityMark(severity), ' ', foreign(subject, 'code'))))) : null,
    held('For the auditor: CIS and STIG', 'attestation', ...buildAttestation(node)),
  ].filter(Boolean);
}

const total = (node) => node.counts.reduce((sum, each) => sum + each.counting + each.waived, 0);

const OUTCOMES = {true: ['dropping', 'dropped'], false: ['ok', 'accepted'], null: ['unknown', 'not known']};
const VERDICTS = {dropped: OUTCOMES.true, accepted: OUTCOMES.false, unknown: OUTCOMES.null};

const replyOf = (path) => ({outward: false, verdict: path[5], reason: path[6], by: null});
const outwardOf = ([,,,,,,,,,,, [by, verdict, reason]]) => ({outward: true, verdict, reason, by});
/** The packet that is drawn is one that dies: a reply to the host, or one to the world where only those do. */
const isOutward = (path) => path[5] !== 'dropped' && outwardOf(path).verdict === 'dropped';
const drawnOf = (path) => (isOutward(path) ? outwardOf(path) : replyOf(path));
const otherOf = (path) => (isOutward(path) ? replyOf(path) : outwardOf(path));
const wayBack = (path) => path[3] || (path[4] === false ? 'no route' : 'not known');

/** What becomes of both, in one word where they fare alike. */
function fareOf(path) {
  const [reply, outward] = [replyOf(path), outwardOf(path)].map(({verdict}) => VERDICTS[verdict][1]);
  return reply === outward ? reply : `reply ${reply}, to the world ${outward}`;
}

function lineList(lines, nothing) {
  if (!lines.length) return element('p', {class: 'note'}, nothing);
  return element('ul', {class: 'deciders'}, lines.map((line) => element('li', {},
    placed(line), foreign(`${line.key} = ${line.value}`, 'span', 'line'))));
}

function buildHorizons(horizons, isEmpty, byFiles) {
  return element('ol', {class: 'horizon-list'}, HORIZONS.map(([key, word]) => {
    if (key === 'now' && byFiles) {
      return element('li', {}, element('h3', {}, word), element('p', {class: 'outcome'}, 'not applicable'),
        element('p', {class: 'note'}, 'It does not run; what its files make of it is below.'));
    }
    if (key === 'now' && isEmpty) {
      return element('li', {}, element('h3', {}, word), element('p', {class: 'outcome'}, 'no pod is here'),
        element('p', {class: 'note'}, 'The first one meets what stands under "Next pod".'));
    }
    const horizon = horizons[key];
    const [state, outcome] = OUTCOMES[horizon.dropped];
    const off = horizon.effective === 0 ? 'No line turns it on.' : 'No line of a loader sets it.';
    const {before, unknown} = horizon;
    return element('li', {class: state},
      element('h3', {}, key === 'sysctl_system' ? element('code', {}, word) : word),
      element('p', {class: 'outcome'}, icon(state), outcome, horizon.dropped && horizon.ends ? ` ${lasting(horizon.ends)}` : ''),
      element('p', {class: 'filter'}, 'filter ', element('b', {}, mode(horizon.effective))),
      unknown.length ? unpredicted(unknown) : lineList(horizon.lines, horizon.effective === null ? 'Could not be seen.' : off),
      before ? element('p', {class: 'note'}, 'Until the agent has started: ', mode(before.effective),
        before.lines.map((line, index) => [index ? ', ' : ', by ', placed(line)])) : null);
  }));
}

/** Places that may write the filter; what they write is unknown. */
function unpredicted(places) {
  return element('ul', {class: 'deciders'}, places.map((each) => element('li', {},
    each.path === null ? foreign(each.by) : placed(each), element('span', {class: 'line'}, 'may write it; cannot be predicted'))));
}

/** How long a state stands that the agent ends by itself. */
function lasting({seconds, value}) {
  const then = value === null ? ', after which it is unknown' : '';
  if (seconds === null) return `until the agent resets it, at its next start, or from Cilium 1.16 within 10 minutes${then}`;
  return `for up to ${seconds % 60 ? `${seconds} s` : counted(seconds / 60, 'minute')}, until the agent resets it${then}`;
}

const leaving = ({verdict, by}) => [verdictMark(verdict), verdict === 'accepted' && by ? [' by ', foreign(by, 'span', 'mono')] : null];

/** A table whose cells stand below each other where there is little room, each with its head's word. */
function stacking(label, columns, rows) {
  return element('div', {class: 'scroll', role: 'region', tabindex: '0', 'aria-label': label},
    element('table', {class: 'stacking'}, heads(...columns.map((column) => [column])), element('tbody', {}, rows.map((cells) =>
      element('tr', {}, cells.map((cell, index) => element(index ? 'td' : 'th', {scope: index ? null : 'row'},
        element('span', {class: 'label'}, `${columns[index]} `), element('div', {}, cell))))))));
}

function buildEndpoints(node) {
  const [all, accepted, dropped, unknown, dropping] = node.endpoints;
  if (!all) return [element('p', {class: 'empty'}, hasNoPods(node) ? 'No pod is here.' : 'Which pods are here could not be seen.')];
  const paths = node.paths || [];
  const rows = paths.map((path) => [
    foreign(podName(path)),
    foreign(path[1] || 'unknown', 'span', 'mono'),
    foreign(path[2] || 'unknown', 'span', 'mono'),
    foreign(wayBack(path), 'span', 'mono'),
    verdictMark(path[5]),
    leaving(outwardOf(path)),
  ]);
  const spared = all - accepted - dropped - unknown;
  const parts = [`${count(accepted)} accepted`, `${count(dropped)} dropped`, unknown ? `${count(unknown)} not known` : '',
    spared ? `${count(spared)} without IPv4, to which rp_filter does not apply` : ''];
  return [
    element('p', {}, `${counted(all, 'endpoint')}, ${count(dropping)} dropping. Replies to the host: ${parts.filter(Boolean).join(', ')}.`),
    rows.length ? stacking('Endpoints, as a table', ['Pod', 'Address', 'Device', 'Route by', 'Reply', 'To the world'], rows) : null,
    all - spared > paths.length ? element('p', {class: 'note'}, `${count(all - spared - paths.length)} more. The audit keeps the ways of at most five, `
      + 'those that drop packets first; each of these is a finding.') : null,
  ].filter(Boolean);
}

const stateWord = (state, word) => element('span', {class: `state ${state}`}, icon(state), word);
const verdictMark = (verdict) => stateWord(...VERDICTS[verdict]);

const strength = (value) => (value === null ? 'not known'
  : `${mode(value)}: ${{0: 'no protection', 1: 'protected'}[value] || 'protected in part'}`);

function buildUplinks(uplinks, byFiles) {
  if (!uplinks.length) return element('p', {class: 'empty'}, byFiles ? 'Not applicable: it does not run.' : 'No uplink was found.');
  return stacking('Uplinks, as a table', ['Uplink', 'Now', 'After the next boot', 'By',
    'After a restart of systemd-sysctl', 'After sysctl --system'], uplinks.map((uplink) => [
    foreign(uplink.device, 'span', 'mono'),
    strength(uplink.effective),
    uplink.boot === null ? 'not known: another program may set it' : strength(uplink.boot),
    lineList(uplink.lines, 'no line'),
    strength(uplink.restart),
    strength(uplink.sysctl_system),
  ]));
}

function evidenceOf(finding) {
  const evidence = pooled(finding[5]);
  const where = evidence.path === null ? null : place(evidence);
  const text = where && evidence.text.startsWith(where) ? evidence.text.slice(where.length).trim() : evidence.text;
  return [where && placed(evidence), text && foreign(text, 'span', where ? 'line' : 'words'),
    evidence.counter === null ? null : element('span', {class: 'words'}, `counter ${count(evidence.counter)}`)];
}

function buildFindings(node) {
  if (!node.findings) {
    return [element('p', {class: 'empty'}, node.horizons === undefined ? 'Nothing could be judged: no facts are there.' : 'None.')];
  }
  const groups = new Map();
  for (const finding of node.findings) {
    if (!groups.has(finding[0])) groups.set(finding[0], []);
    groups.get(finding[0]).push(finding);
  }
  return [...groups].map(([rule, findings]) => buildFinding(node, rule, findings));
}

function remedies(rule, findings) {
  const distinct = [...new Set(findings.map((finding) => finding[6]))].map(pooled).filter((each) => each.command || each.variable);
  if (!distinct.length) return element('p', {class: 'note'}, 'Nothing in this collection mends it.');
  return distinct.map((each) => [
    each.command ? copyable(each.command, `the command for ${audit.ids[rule]}`) : null,
    each.variable ? element('p', {class: 'note'}, 'decided by ', foreign(each.variable, 'code')) : null]);
}

function buildFinding(node, rule, findings) {
  const known = audit.rules[rule];
  // Those that differ in nothing but their subject are told once.
  const alike = new Map();
  for (const finding of findings) {
    const key = JSON.stringify([finding[1], ...finding.slice(3, 8)]);
    if (!alike.has(key)) alike.set(key, []);
    alike.get(key).push(finding);
  }
  const severity = SEVERITIES[node.byRule.get(rule).severity];
  const rows = [...alike.values()].map((same) => {
    const [first] = same;
    const own = SEVERITIES[first[1]];
    const excuse = first[7] === null ? null : pooled(first[7]);
    const subjects = same.map((finding) => element('span', {class: 'one'}, foreign(finding[2], 'span', 'mono'),
      CHANGES[finding[8]] === 'new' ? [' ', tag('new', 'new')] : null));
    return element('li', {class: `${same.length > 2 ? 'many' : ''} ${excuse ? 'excused' : ''}`},
      element('p', {class: 'subject'}, own === severity ? null : [severityMark(own), ' '], subjects),
      element('p', {}, 'observed ', element('b', {}, foreign(first[4])), ', expected ', foreign(first[3])),
      element('p', {class: 'evidence'}, evidenceOf(first)),
      excuse ? element('p', {class: 'excuse'}, tag('waived', 'waived'), ' ', foreign(excuse.justification),
        excuse.expires ? ` (until ${excuse.expires})` : ' (for ever)') : null);
  });
  const [, others, unnamed] = (node.cut || []).find((each) => each[0] === rule) || [0, [], 0];
  const left = others.length + unnamed;
  return element('article', {class: `finding-group ${severity}`, 'aria-labelledby': `about-${audit.ids[rule]}`},
    element('h3', {id: `about-${audit.ids[rule]}`}, severityMark(severity), ruleId(audit.ids[rule]), ' ',
      foreign(known.title)),
    element('p', {class: 'why'}, foreign(sentence(known.why))),
    element('div', {class: 'told'},
      element('ul', {class: 'instances'}, rows),
      left ? element('details', {class: 'more'}, element('summary', {}, `${count(left)} more of the same, all in audit.json`),
        element('p', {class: 'mono', tabindex: '0', role: 'group', 'aria-label': `More of ${audit.ids[rule]}`}, ...names(others, others.length), unnamed ? ` and ${count(unnamed)} more.` : '')) : null),
    element('div', {class: 'remedy'}, element('h4', {}, 'What mends it'), remedies(rule, findings),
      element('p', {class: 'note'}, 'See ', foreign(known.section, 'code'), '; ', reference(known.reference), '.')));
}

const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.') : '');

function reference(text) {
  if (!/^https:\/\/[\w.-]+\/[\w./#?=&%~+-]*$/.test(text)) return foreign(text);
  return element('a', {href: text, rel: 'noreferrer noopener'}, text);
}

function buildCures(node) {
  return node.cures.map(pooled).map((cure, index) => element('div', {class: 'cure'},
    element('h3', {}, `${index + 1}. `, foreign(sentence(cure.title))),
    cure.commands.map((command, step) => copyable(command, `command ${step + 1} of way ${index + 1}`)),
    Object.entries(cure.variables).map(([name, value]) =>
      element('p', {class: 'note'}, 'sets ', foreign(`${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`, 'code')))));
}

function buildAttestation(node) {
  const [protection, text] = node.attestation;
  const [state, words] = {met: ['ok', 'The intent of the control is met'],
    partially_met: ['at_risk', 'The intent of the control is partially met: some interfaces are loose'],
    not_met: ['dropping', 'The intent of the control is not met'],
    unknown: ['unknown', 'Not known whether the intent of the control is met']}[protection];
  return [element('p', {class: `state ${state}`}, icon(state), words), copyable(text, 'the text for the auditor', true)];
}

// --- the drawing: pod, its device, the route back, the device of that route, and where it ends ---

const podName = (path) => path[0] || 'pod of unknown name';

function buildWay(node) {
  const paths = node.paths || [];
  if (!paths.length) {
    const why = node.horizons === undefined ? 'No drawing: no facts of this node are there.'
      : node.by_files ? 'No drawing: it does not run, and has no pods.'
      : node.endpoints[0] ? 'No drawing: no endpoint has an IPv4 address, so rp_filter does not apply.'
      : hasNoPods(node) ? 'No drawing: there is no pod on this node whose packet could be followed.'
        : 'No drawing: which pods are on this node could not be seen.';
    return [element('p', {class: 'empty'}, why)];
  }
  const figure = element('figure', {class: 'way-figure'});
  const draw = (path) => figure.replaceChildren(drawing(path, printing || DRAWING_WIDE.matches),
    element('figcaption', {}, tellFates(drawnOf(path), otherOf(path)), later(path)));
  const chosen = () => Math.min(view.way, paths.length) - 1;
  figure.redraw = () => draw(paths[chosen()]);
  figure.redraw();
  if (paths.length === 1) return [figure];
  const choice = element('select', {id: 'path'}, paths.map((path, index) =>
    element('option', {value: index + 1, selected: index === chosen()}, visible(`${podName(path)}, ${path[1] || 'address unknown'}: ${fareOf(path)}`))));
  choice.addEventListener('change', () => {
    view = {...view, way: Number(choice.value)};
    history.replaceState(null, '', addressOf(view));
    figure.redraw();
  });
  return [element('div', {class: 'field pick'}, element('label', {for: 'path'}, 'Follow a packet of'), choice), figure];
}

/** Of both packets where they do not fare alike, else of that which is drawn. */
function tellFates(drawn, other) {
  if (drawn.verdict === other.verdict) return element('p', {}, verdictMark(drawn.verdict), ' ', foreign(sentence(drawn.reason)));
  return [drawn, other].map(({outward, verdict, reason, by}) => element('p', {}, verdictMark(verdict), ' ',
    outward ? ['to the world', by ? [' by ', foreign(by, 'code')] : null] : 'reply to the host', ': ', foreign(reason), '.'));
}

/** What of it will be otherwise, and by whose line. */
function later(path) {
  const next = pooled(path[10]);
  const {verdict} = drawnOf(path);
  return HORIZONS.slice(1).filter(([key]) => next[key].dropped !== null && next[key].dropped !== (verdict === 'dropped') && verdict !== 'unknown')
    .map(([key, word]) => element('p', {}, stateWord(...OUTCOMES[next[key].dropped]), ' ',
      WHEN[key] || ['after the next ', element('code', {}, word)],
      next[key].dropped && next[key].ends ? ` ${lasting(next[key].ends)}` : '',
      next[key].lines.map((line, index) => [index ? ', ' : ', by ', placed(line)])));
}

/**
 * Lines of at most so many characters. A word is cut where it is longer than a line, behind a mark if it has one. Of what
 * takes too many the middle goes: a path ends in its line.
 */
function wrapped(text, width, most = 4) {
  const lines = [];
  let line = '';
  const put = (piece) => {
    if (line && [...(line + piece)].length > width) { lines.push(line.trimEnd()); line = ''; }
    for (piece = line ? piece : piece.trimStart(); [...piece].length > width; piece = [...piece].slice(width).join('')) {
      lines.push([...piece].slice(0, width).join(''));
    }
    line += piece;
  };
  visible(text).split(/\s+/).forEach((word, index) => {
    const spaced = (index ? ' ' : '') + word;
    if ([...word].length > width) spaced.split(/(?<=[/.:-])/u).forEach(put);
    else put(spaced);
  });
  if (line.trim()) lines.push(line.trimEnd());
  return lines.length > most ? [...lines.slice(0, most - 1), `…${[...lines.join('')].slice(1 - width).join('')}`] : lines;
}

const MONO = 7.9; // of a character at 13 px, at most
const SANS = 6.6;

/** What a box says: a label, what it is about, and notes. */
function boxLines(box) {
  const room = box.width - 28;
  return [
    [box.label, 'label', 15],
    ...box.title.flatMap((each) => wrapped(each, Math.floor(room / MONO)).map((line) => [line, box.plain ? 'title plain' : 'title', 18])),
    ...box.notes.flatMap((each) => wrapped(each.text || each, Math.floor(room / (each.mono ? MONO : SANS)))
      .map((line) => [line, each.mono ? 'code' : 'said', 17])),
  ];
}

const heightOf = (box) => boxLines(box).reduce((sum, [, , height]) => sum + height, 24);

function outline(box) {
  const {x, y, width: w, height: h, shape} = box;
  if (shape === 'round') return drawn('rect', {class: 'shape', x, y, width: w, height: h, rx: 18});
  if (shape === 'check') return drawn('path', {class: 'shape', d: `M${x + 14} ${y}H${x + w - 14}L${x + w} ${y + h / 2}L${x + w - 14} ${y + h}H${x + 14}L${x} ${y + h / 2}Z`});
  if (shape === 'note') {
    return [drawn('path', {class: 'shape', d: `M${x} ${y}H${x + w - 16}L${x + w} ${y + 16}V${y + h}H${x}Z`}),
      drawn('path', {class: 'fold', d: `M${x + w - 16} ${y}V${y + 16}H${x + w}`})];
  }
  if (shape === 'double') {
    return [drawn('rect', {class: 'shape', x, y, width: w, height: h, rx: 3}),
      box.kind.endsWith('ok') && drawn('rect', {class: 'inner', x: x + 4, y: y + 4, width: w - 8, height: h - 8, rx: 1})];
  }
  return drawn('rect', {class: 'shape', x, y, width: w, height: h, rx: 3});
}

function drawBox(box) {
  let y = box.y + 12;
  const texts = boxLines(box).map(([text, kind, height]) => {
    y += height;
    // As in placed(): what a path ends in does not take the line along.
    const [, path, line] = text.match(/^(.*?)(:\d+)?$/su);
    return drawn('text', {x: box.x + (box.shape === 'check' ? 20 : 14), y: y - 4, class: kind, direction: 'ltr'},
      drawn('tspan', {class: 'isolated'}, path), line);
  });
  return drawn('g', {class: `box ${box.kind || ''}`}, outline(box), texts);
}

/** A line through points, with a head at its end. */
function arrow(points, kind) {
  const [end, before] = [points[points.length - 1], points[points.length - 2]];
  const [dx, dy] = [Math.sign(end[0] - before[0]), Math.sign(end[1] - before[1])];
  const base = [end[0] - dx * 9, end[1] - dy * 9];
  const wings = [[base[0] - dy * 5, base[1] + dx * 5], [base[0] + dy * 5, base[1] - dx * 5]];
  const trunk = [...points.slice(0, -1), base];
  return drawn('g', {class: `arrow ${kind}`},
    drawn('path', {class: 'trunk', d: `M${trunk.map((point) => point.join(' ')).join('L')}`}),
    drawn('path', {class: 'head', d: `M${end.join(' ')}L${wings[0].join(' ')}L${wings[1].join(' ')}Z`}));
}

function sign(x, y, state) {
  const group = drawn('g', {class: `sign ${state}`});
  const [a, b] = [10, 24];
  if (state === 'dropping') {
    group.append(drawn('path', {class: 'ground', d: `M${x - a} ${y - b}h${2 * a}L${x + b} ${y - a}v${2 * a}L${x + a} ${y + b}h${-2 * a}L${x - b} ${y + a}v${-2 * a}Z`}),
      drawn('path', {class: 'cut', d: `M${x - 9} ${y - 9}l18 18m0-18l-18 18`}));
  } else if (state === 'ok') {
    group.append(drawn('circle', {class: 'ground', cx: x, cy: y, r: 20}), drawn('path', {class: 'cut', d: `M${x - 9} ${y + 1}l6 6 12-13`}));
  } else {
    group.append(drawn('path', {class: 'ground', d: `M${x} ${y - 24}L${x + 24} ${y}L${x} ${y + 24}L${x - 24} ${y}Z`}),
      drawn('path', {class: 'cut', d: `M${x - 5} ${y - 5}c0-8 10-8 10 0 0 5-5 5-5 10m0 5v3`}));
  }
  return group;
}

function partsOf(path) {
  const [, address, device, routeDevice, symmetric, , , effective, decidedBy, setBy] = path;
  const {outward, verdict, by: uplink} = drawnOf(path);
  const [state] = VERDICTS[verdict];
  const whose = {own: 'its own value', all: 'the value of all', both: 'its own value and that of all'}[decidedBy];
  const lines = setBy.map(([key, number]) => [key, pooled(number)]);
  const culprits = lines.map(([key, by]) => (by.path
    ? {title: [place(by)], notes: [by.text ? {text: by.text, mono: true} : `${key} = ${by.value}`, `by ${by.by}`]}
    : {title: [`${key} = ${by.value}`], notes: [`by ${by.by}`]}));
  return {
    state,
    word: {dropped: 'dropped here', accepted: 'accepted', unknown: 'not known'}[verdict],
    pod: {kind: 'pod', shape: 'round', label: 'Pod', title: [podName(path)], notes: [address || 'address unknown']},
    device: {kind: 'device', label: outward ? 'Its packet arrives on' : 'Its reply arrives on', title: [device || 'device unknown'],
      notes: [`filter ${mode(effective)}`, ...(whose ? [whose] : [])]},
    check: {kind: 'check', shape: 'check', label: 'Route lookup (FIB)', plain: true,
      title: [address ? 'Where would a packet' : 'Where would it'], notes: [`to ${address || 'the pod'} leave?`,
        {true: 'by the same device', false: 'by another device', null: 'not known'}[symmetric], ...(effective === 0 ? ['not asked: the filter is off'] : [])]},
    back: {kind: `back ${symmetric ? 'same' : 'other'}`, label: 'The way back', title: [wayBack(path)],
      notes: [{true: 'the device it came in by: both ways are the same', false: routeDevice ? 'not the device it came in by' : 'the host has no route to it',
        null: ''}[symmetric]].filter(Boolean)},
    host: {kind: `host ${state}`, shape: 'double', label: outward ? 'The world' : 'The host and beyond', plain: true,
      title: [{dropped: 'hears nothing', accepted: 'hears the reply', unknown: 'not known'}[verdict]],
      notes: [!outward ? 'probes of the kubelet, services' : uplink ? `the way out: ${uplink}` : 'whatever is not in the cluster']},
    culprits: culprits.map((each) => ({kind: 'culprit', shape: 'note', label: state === 'ok' ? 'Set by' : 'Whose line', ...each})),
  };
}

function tellDrawing(path, parts) {
  const [, address, device] = path;
  const {outward, reason} = drawnOf(path);
  const told = [`${outward ? 'A packet to the world' : 'The reply'} of ${podName(path)} (${address || 'address unknown'}) arrives on ${device || 'an unknown device'}.`,
    `The way back: ${[...parts.back.title, ...parts.back.notes].join(', ')}.`,
    `The packet is ${parts.word}: ${reason}.`,
    ...parts.culprits.map((each) => `${each.label}: ${[...each.title, ...each.notes].map((one) => one.text || one).join(', ')}.`)];
  return visible(told.join(' '));
}

function drawing(path, wide) {
  const parts = partsOf(path);
  const {height, content, width} = (wide ? layWide : layTall)(parts);
  return drawn('svg', {class: `way-drawing ${wide ? 'wide' : 'tall'}`, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-labelledby': 'way-title way-desc'},
    drawn('title', {id: 'way-title'}, `The way of a ${drawnOf(path).outward ? 'packet to the world' : 'reply'}: ${parts.word}`),
    drawn('desc', {id: 'way-desc'}, tellDrawing(path, parts)),
    content);
}

function layWide(parts) {
  const boxes = [[parts.pod, 1, 204], [parts.device, 239, 190], [parts.check, 463, 204], [parts.host, 785, 150]];
  for (const [box, x, width] of boxes) Object.assign(box, {x, width, y: 1});
  const tall = Math.max(...boxes.map(([box]) => heightOf(box)), 84);
  for (const [box] of boxes) box.height = tall;
  const below = tall + 50;
  Object.assign(parts.back, {x: 469, y: below, width: 280});
  parts.back.height = heightOf(parts.back);
  let y = below;
  for (const culprit of parts.culprits) {
    Object.assign(culprit, {x: 1, y, width: 428});
    culprit.height = heightOf(culprit);
    y += culprit.height + 12;
  }
  const middle = tall / 2 + 1;
  const at = 721;
  const dead = parts.state !== 'ok';
  const content = [
    arrow([[205, middle], [237, middle]], 'reply'),
    arrow([[429, middle], [461, middle]], 'reply'),
    arrow([[667, middle], [at - 25, middle]], 'reply'),
    arrow([[at + 25, middle], [783, middle]], dead ? `never ${parts.state}` : 'reply'),
    arrow([[565, tall + 1], [565, below - 2]], 'lookup'),
    parts.culprits.length ? arrow([[334, below], [334, tall + 3]], 'blame') : null,
    ...boxes.map(([box]) => drawBox(box)), drawBox(parts.back), ...parts.culprits.map(drawBox),
    sign(at, middle, parts.state),
    drawn('text', {x: at, y: middle + 44, class: `verdict-word ${parts.state}`, 'text-anchor': 'middle'}, parts.word),
  ];
  return {width: 936, height: Math.max(y, below + parts.back.height + 12) + 1, content};
}

function layTall(parts) {
  const content = [];
  const lay = (box, indent, y) => {
    Object.assign(box, {x: 1 + indent, y, width: 286 - indent});
    box.height = heightOf(box);
    content.push(drawBox(box));
    return y + box.height;
  };
  const GAP = 30;
  const spine = 28; // The packet's own way keeps to the left of whatever hangs below a box.
  let y = lay(parts.pod, 0, 1);
  content.push(arrow([[spine, y], [spine, y + GAP - 2]], 'reply'));
  const deviceEnd = lay(parts.device, 0, y + GAP);
  y = deviceEnd;
  for (const culprit of parts.culprits) {
    const from = y + 14;
    y = lay(culprit, 64, from);
    content.push(arrow([[65, from + 24], [48, from + 24], [48, deviceEnd + 2]], 'blame'));
  }
  content.push(arrow([[spine, deviceEnd], [spine, y + GAP - 2]], 'reply'));
  const checkEnd = lay(parts.check, 0, y + GAP);
  y = lay(parts.back, 64, checkEnd + 14);
  content.push(arrow([[48, checkEnd], [48, checkEnd + 40], [63, checkEnd + 40]], 'lookup'));
  const at = y + 48;
  content.push(arrow([[spine, checkEnd], [spine, at - 26]], 'reply'));
  content.push(sign(spine, at, parts.state),
    drawn('text', {x: spine + 36, y: at + 5, class: `verdict-word ${parts.state}`}, parts.word));
  content.push(arrow([[spine, at + 26], [spine, at + 52]], parts.state === 'ok' ? 'reply' : `never ${parts.state}`));
  y = lay(parts.host, 0, at + 54);
  return {width: 288, height: y + 1, content};
}

// --- showing ---

let listScroll = 0;
let shown = null;

function show(isFirst = false) {
  const node = (view.node !== null && byAddress.get(inAddress(view.node))) || null;
  const left = shown;
  if (!left && node && !isFirst) listScroll = scrollY;
  shown = node;
  find('list').hidden = Boolean(node);
  find('node').hidden = !node;
  const missing = node ? null : view.node;
  tellMissing(missing);
  if (node) {
    find('node').replaceChildren(...buildNode(node));
    document.title = `${visible(node.name)}: ${STATE_WORDS[node.state]}`;
    if (!isFirst) { scrollTo(0, 0); find('node-name').focus({preventScroll: true}); }
    return;
  }
  document.title = listTitle;
  find('node').replaceChildren();
  renderMatrix();
  if (missing !== null) {
    scrollTo(0, 0);
    if (left) find('answer').focus({preventScroll: true});
  } else if (left) {
    // Back where one was: on the link that was followed.
    scrollTo(0, listScroll);
    const link = [...document.querySelectorAll('.matrix a, .cards a')].find((each) => each.getAttribute('href') === linkTo(left));
    (link || find('answer')).focus({preventScroll: true});
  }
}

/** A node that the address names and that is not here is told, once: the address then is that of the list. */
function tellMissing(name) {
  const message = find('missing');
  message.hidden = name === null;
  if (name === null) return;
  message.replaceChildren('There is no node called ', foreign(name, 'code'), ' here.');
  announce(message.textContent);
  view = {...view, node: null};
  history.replaceState(null, '', addressOf(view));
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === '/' && !typing && find('node').hidden) {
    event.preventDefault();
    searchField.focus();
    searchField.select();
  } else if (event.key === 'Escape' && find('node').hidden && filterWords().length) {
    event.preventDefault();
    if (event.target === searchField && view.text) go({text: ''});
    else go(NOTHING);
  } else if (event.key === 'Escape' && !find('node').hidden && event.target.tagName !== 'SELECT') {
    go({node: null, page: view.page});
  }
}

const redraw = () => document.querySelectorAll('.way-figure').forEach((figure) => figure.redraw());

/** On paper is all of it, and afterwards it is as before. */
let unfolded = [];
function toPaper(begins) {
  printing = begins;
  if (begins) unfolded = [...document.querySelectorAll('details.more:not([open])')];
  unfolded.forEach((each) => { each.open = begins; });
  renderMatrix();
  redraw();
}

const THEMES = ['automatic', 'light', 'dark'];

function buildTools() {
  let theme = 'automatic';
  try { theme = THEMES.includes(localStorage.getItem('theme')) ? localStorage.getItem('theme') : theme; } catch (refused) { /* no store */ }
  const word = element('span', {}, theme);
  const button = element('button', {type: 'button', class: 'quiet', click: () => set(THEMES[(THEMES.indexOf(theme) + 1) % 3])}, 'Theme: ', word);
  const set = (wanted) => {
    theme = wanted;
    word.textContent = theme;
    if (theme === 'automatic') document.documentElement.removeAttribute('data-theme');
    else document.documentElement.setAttribute('data-theme', theme);
    try { localStorage.setItem('theme', theme); } catch (refused) { /* it then holds for this page alone */ }
  };
  set(theme);
  find('tools').append(element('button', {type: 'button', class: 'quiet printer', click: () => window.print()}, 'Print'), button);
}

const listTitle = document.title;
find('plain').remove();
document.body.append(element('div', {id: 'said', class: 'offscreen', role: 'status'}));
buildTools();
buildList();
show(true);
document.documentElement.setAttribute('data-ready', '');

// Not every browser has it; the first search then takes a little longer.
if (window.requestIdleCallback) requestIdleCallback((deadline) => prepareSearch(deadline));
addEventListener('click', noteDown, true);
addEventListener('keydown', onKey);
addEventListener('hashchange', () => { view = readAddress(); show(); });
SMALL.addEventListener('change', () => renderMatrix());
DRAWING_WIDE.addEventListener('change', redraw);
addEventListener('beforeprint', () => toPaper(true));
addEventListener('afterprint', () => toPaper(false));
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  const heading = find(find('node').hidden ? 'answer' : 'node-name');
  heading.focus();
});
})();
