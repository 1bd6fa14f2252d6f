// Locates a mutation in a source file by structure: a declaration or property by its name, and a sequence of tokens in it,
// independent of layout. Changes elsewhere in the file and different line breaks do not move it.

import ts from "typescript";

/** @typedef {{ readonly start: number; readonly end: number }} Range */

/**
 * Returns the text with `find` replaced by `instead`, in the declaration or property that `within` names; without `find`, the
 * whole value of that declaration or property is replaced. Returns undefined when the file has no such place.
 * @param {string} text
 * @param {{ within?: readonly string[]; after?: string; find?: string; instead: string }} mutant
 */
export function broken(text, { within = [], after = "", find, instead }) {
  const file = ts.createSourceFile("broken.ts", text, ts.ScriptTarget.Latest, true);
  const named = within.reduce(
    (/** @type {ts.Node | undefined} */ node, name) => node && declared(node, name),
    file,
  );
  if (named === undefined) return undefined;
  const value = named === file ? named : (initializerOf(named) ?? named);
  const whole = { start: value.getStart(file), end: value.getEnd() };
  const from = after === "" ? whole : rangeOf(text, after, whole);
  if (from === undefined) return undefined;
  const behind = { start: after === "" ? whole.start : from.end, end: whole.end };
  const place = find === undefined ? whole : rangeOf(text, find, behind);
  if (place === undefined) return undefined;
  const result = text.slice(0, place.start) + instead + text.slice(place.end);
  return result === text ? undefined : result;
}

/**
 * Returns the first declaration, member or property of that name below a node, breadth first.
 * @param {ts.Node} node
 * @param {string} name
 * @returns {ts.Node | undefined}
 */
function declared(node, name) {
  /** @type {ts.Node[]} */
  const waiting = [node];
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    if (next !== node && nameOf(next) === name) return next;
    ts.forEachChild(next, (child) => void waiting.push(child));
  }
  return undefined;
}

/** @param {ts.Node} node */
function nameOf(node) {
  const name = /** @type {{ name?: ts.Node }} */ (node).name;
  if (name === undefined) return undefined;
  return ts.isStringLiteral(name) ? name.text : name.getText();
}

/** @param {ts.Node} node @returns {ts.Node | undefined} */
const initializerOf = (node) => /** @type {{ initializer?: ts.Node }} */ (node).initializer;

/**
 * Returns the range of the tokens of `words` in a part of the text.
 * @param {string} text @param {string} words @param {Range} part
 * @returns {Range | undefined}
 */
function rangeOf(text, words, part) {
  const wanted = tokensIn(words, { start: 0, end: words.length });
  const there = tokensIn(text, part);
  for (let at = 0; at + wanted.length <= there.length; at += 1)
    if (wanted.every((token, index) => there[at + index]?.text === token.text))
      return { start: there[at]?.start ?? 0, end: there[at + wanted.length - 1]?.end ?? 0 };
  return undefined;
}

/** @param {string} text @param {Range} part */
function tokensIn(text, { start, end }) {
  const { Latest } = ts.ScriptTarget;
  const { Standard } = ts.LanguageVariant;
  const scanner = ts.createScanner(Latest, true, Standard, text, undefined, start, end - start);
  const tokens = [];
  /** @type {ts.SyntaxKind[]} The open braces and templates. */
  const open = [];
  for (let kind = scanner.scan(); kind !== ts.SyntaxKind.EndOfFileToken; kind = scanner.scan()) {
    if (kind === ts.SyntaxKind.OpenBraceToken || kind === ts.SyntaxKind.TemplateHead) open.push(kind);
    if (kind === ts.SyntaxKind.CloseBraceToken) {
      const isInTemplate = open.at(-1) === ts.SyntaxKind.TemplateHead;
      const closes = isInTemplate ? scanner.reScanTemplateToken(false) : kind;
      if (closes !== ts.SyntaxKind.TemplateMiddle) open.pop();
    }
    tokens.push({ text: scanner.getTokenText(), start: scanner.getTokenStart(), end: scanner.getTokenEnd() });
  }
  return tokens;
}
