// Checks untrusted XML before it is parsed: one pass in linear time that accepts only what the parser can read without harm.
// It rejects a DTD, and so entities, unbounded nesting and attributes, and references that are not well-formed.

import { DomainXmlError, type Place } from "./errors.js";

const longest = 2 ** 20;
const deepest = 64;
const maxAttributes = 128;

/** Characters forbidden both raw and by reference (XML 1.0, 2.2), and a carriage return, which printing would lose. */
const isForbidden = (code: number) =>
  (code < 0x20 && code !== 0x9 && code !== 0xa) ||
  (code >= 0xd800 && code <= 0xdfff) ||
  code === 0xfffe ||
  code === 0xffff ||
  code > 0x10ffff;

// Sticky, and without nested repetition, so that each runs in time linear in its match.
const tagStart = /<\/?[^\s<>"'/=&]+/y;
const attribute = /\s+[^\s<>"'/=&]+\s*=\s*(?:"[^<"]*"|'[^<']*')/y;
const tagEnd = /\s*(\/?)>/y;
const reference = /&(?:(?:amp|lt|gt|quot|apos|#(\d{1,7})|#x([\da-fA-F]{1,6}));)?/g;
/** U+FFFD replaces bytes that could not be decoded. */
const rawForbidden = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFC\u{10000}-\u{10FFFF}]/u;

/** Content between the delimiters is not inspected. */
const sections = [
  ["<!--", "-->"],
  ["<![CDATA[", "]]>"],
  ["<?", "?>"],
] as const;

export function placeAt(text: string, offset: number): Place {
  const before = text.slice(0, offset);
  return { line: before.split("\n").length, column: offset - before.lastIndexOf("\n") };
}

/** @throws DomainXmlError for the first thing that is not accepted. */
export function scan(text: string): void {
  const refusal = (offset: number, what: string, next = "give well-formed XML") =>
    new DomainXmlError([{ code: "malformed", path: "", ...placeAt(text, offset), what, next }]);
  if (text.length > longest) {
    throw refusal(0, `the XML has ${text.length} characters`, `a domain may have at most ${longest}`);
  }
  const forbidden = text.search(rawForbidden);
  if (forbidden >= 0)
    throw refusal(forbidden, "a character that XML does not allow, or that could not be decoded");

  const checkReferences = (from: number, to: number) => {
    for (const match of text.slice(from, to).matchAll(reference)) {
      const [whole, decimal, hex] = match;
      if (whole === "&")
        throw refusal(from + match.index, 'an "&" that does not begin a known reference', "write &amp;");
      const code = decimal === undefined ? Number.parseInt(hex ?? "20", 16) : Number(decimal);
      if (isForbidden(code))
        throw refusal(from + match.index, `${whole} names a character that is not allowed`);
    }
  };
  const match = (pattern: RegExp, at: number): RegExpExecArray | null => {
    pattern.lastIndex = at;
    return pattern.exec(text);
  };

  let depth = 0;
  let at = 0;
  while (at < text.length) {
    const open = text.indexOf("<", at);
    checkReferences(at, open < 0 ? text.length : open);
    if (open < 0) break;
    const section = sections.find(([begin]) => text.startsWith(begin, open));
    if (section !== undefined) {
      const end = text.indexOf(section[1], open + section[0].length);
      if (end < 0) throw refusal(open, `${section[0]} is never closed by ${section[1]}`);
      at = end + section[1].length;
      continue;
    }
    if (text.startsWith("<!", open)) {
      throw refusal(open, "a document type is not accepted", "remove the DOCTYPE and its entities");
    }
    const name = match(tagStart, open)?.[0];
    if (name === undefined) throw refusal(open, 'a "<" that does not begin a tag', "write &lt;");
    at = open + name.length;
    for (let count = 0; ; count++) {
      const length = match(attribute, at)?.[0].length;
      if (length === undefined) break;
      if (count === maxAttributes)
        throw refusal(open, `an element has more than ${maxAttributes} attributes`);
      checkReferences(at, at + length);
      at += length;
    }
    const end = match(tagEnd, at);
    if (end === null) throw refusal(at, `the tag ${name} is not well-formed from here on`);
    at += end[0].length;
    if (name.startsWith("</")) depth--;
    else if (end[1] === "") depth++;
    if (depth > deepest) throw refusal(open, `elements are nested more than ${deepest} deep`);
  }
}
