// Parses text to a DOM and prints it back, by @xmldom/xmldom; `scan` checks the text first. Every error and warning of the
// parser becomes a refusal with its place.

import { DOMParser, type Element, type Node, XMLSerializer } from "@xmldom/xmldom";
import { messageOf } from "../../../protocol/effect-result.js";
import { DomainXmlError, type Place } from "./errors.js";
import { scan } from "./prescan.js";

/** Normalizes XML 1.0's line ends only; the parser's default would also turn U+0085 and U+2028 into line feeds. */
const normalizeLineEndings = (text: string) => text.replace(/\r\n?/g, "\n");

/** Returns the root element. @throws DomainXmlError when the text is not well-formed XML, or `scan` rejects it. */
export function parseXml(text: string): Element {
  const unmarked = text.startsWith("\uFEFF") ? text.slice(1) : text;
  scan(normalizeLineEndings(unmarked));
  let complaint: { what: string; place: Place } | undefined;
  try {
    const parser = new DOMParser({
      normalizeLineEndings,
      onError: (_level, what: string, context: unknown) => {
        complaint = { what, place: placeOf(context) };
        throw new Error(what);
      },
    });
    const root = parser.parseFromString(unmarked, "text/xml").documentElement;
    if (root !== null) return root;
    throw new Error("there is no root element");
  } catch (error) {
    const { what, place } = complaint ?? { what: messageOf(error), place: { line: 1, column: 1 } };
    throw new DomainXmlError(
      [{ code: "malformed", path: "", ...place, what, next: "give well-formed XML" }],
      {
        cause: error,
      },
    );
  }
}

export const printXml = (node: Node): string => new XMLSerializer().serializeToString(node);

/** Returns the position that a node, or the parser's context, reports. */
export function placeOf(positioned: unknown): Place {
  if (typeof positioned !== "object" || positioned === null) return { line: 1, column: 1 };
  if ("locator" in positioned) return placeOf(positioned.locator);
  const at = (key: "lineNumber" | "columnNumber") => {
    const value: unknown = Reflect.get(positioned, key);
    return typeof value === "number" ? Math.max(1, value) : 1;
  };
  return { line: at("lineNumber"), column: at("columnNumber") };
}
