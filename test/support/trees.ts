// Generates arbitrary XML for properties, and extracts the content that a round trip has to keep.

import type { Element } from "@xmldom/xmldom";
import fc from "fast-check";
import { anyText } from "../../src/drivers/domain-xml/xml/values.js";

const name = fc.stringMatching(/^[a-z][a-z\d_-]{0,5}$/).filter((drawn) => !drawn.startsWith("xml"));
const text = fc.string({ unit: "grapheme", maxLength: 12 }).filter((drawn) => anyText.looks.test(drawn));
const escaped = (item: string) =>
  item.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
const whitespace: Readonly<Record<string, string>> = { "\t": "&#9;", "\n": "&#10;" };
const quoted = (item: string) =>
  `"${escaped(item).replaceAll(/[\t\n]/g, (space) => whitespace[space] ?? "")}"`;

const attributes = fc.dictionary(name, text, { maxKeys: 3 }).map((all) =>
  Object.entries(all)
    .map(([key, it]) => ` ${key}=${quoted(it)}`)
    .join(""),
);
const comment = text.filter((drawn) => !drawn.includes("-")).map((drawn) => `<!--${drawn}-->`);
const section = text.filter((drawn) => !drawn.includes("]]>")).map((drawn) => `<![CDATA[${drawn}]]>`);

/** Prints one element with arbitrary content. */
export const xmlTree: fc.Arbitrary<string> = fc.letrec<{ tree: string; content: string }>((tie) => ({
  tree: fc
    .tuple(name, fc.constantFrom("", "x:", "y:"), attributes, fc.array(tie("content"), { maxLength: 4 }))
    .map(([tag, prefix, given, content]) => {
      const declared = prefix === "" ? "" : ` xmlns:${prefix.slice(0, -1)}="urn:${prefix.slice(0, -1)}"`;
      return `<${prefix}${tag}${declared}${given}>${content.join("")}</${prefix}${tag}>`;
    }),
  content: fc.oneof({ maxDepth: 4 }, text.map(escaped), comment, section, tie("tree")),
})).tree;

interface Structure {
  readonly name: string;
  readonly attributes: readonly string[];
  readonly children: readonly (Structure | string)[];
}

/** Returns everything of an element that has a meaning. */
export function structureOf(element: Element): Structure {
  return {
    name: `{${element.namespaceURI ?? ""}}${element.localName}`,
    attributes: Array.from(element.attributes)
      .map((attribute) => `${attribute.name}=${attribute.value}`)
      .toSorted(),
    children: Array.from(element.childNodes).map((childNode) =>
      childNode.nodeType === childNode.ELEMENT_NODE
        ? structureOf(childNode as Element)
        : `${childNode.nodeType} ${childNode.nodeValue}`,
    ),
  };
}
