import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseDomain } from "../../../../src/drivers/domain-xml/domain.js";
import { DomainXmlError } from "../../../../src/drivers/domain-xml/xml/errors.js";
import { parseXml, printXml } from "../../../../src/drivers/domain-xml/xml/parse.js";
import { domainXml } from "../../../support/domains.js";
import { structureOf, xmlTree } from "../../../support/trees.js";

function refusalOf(text: string): string {
  try {
    parseXml(text);
  } catch (error) {
    if (!(error instanceof DomainXmlError)) throw error;
    const [{ line, column, what }] = error.refusals;
    return `${line}:${column} ${what}`;
  }
  return "let through";
}

describe("XML from outside", () => {
  test.each([
    ["an empty text", "", "1:1 missing root element"],
    ["a document type", "<?xml version='1.0'?>\n<!DOCTYPE a>\n<a/>", "2:1 a document type is not accepted"],
    [
      "entities that expand exponentially",
      '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;">]><a>&y;</a>',
      "1:1 a document type is not accepted",
    ],
    [
      "an entity from a file",
      '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
      "1:1 a document type is not accepted",
    ],
    ["an unknown entity", "<a>\n &nbsp;</a>", '2:2 an "&" that does not begin a known reference'],
    [
      "a bare ampersand in an attribute",
      "<a b='x & y'/>",
      '1:9 an "&" that does not begin a known reference',
    ],
    ["a NUL by reference", "<a>&#0;</a>", "1:4 &#0; names a character that is not allowed"],
    [
      "a character beyond Unicode",
      "<a>&#x110000;</a>",
      "1:4 &#x110000; names a character that is not allowed",
    ],
    ["a raw control character", "<a>\u0001</a>", /^1:4 a character that XML does not allow/],
    ["half a character", "<a>\ud800</a>", /^1:4 a character that XML does not allow/],
    ["two roots", "<a/>\n<b/>", /^2:/],
    ["text behind the root", "<a/>text", /^1:/],
    ["tags that do not match", "<a>\n<b></a>", /^2:/],
    ["a tag that is not closed", "<a><b>", /unclosed/],
    ["an attribute given twice", "<a b='1' b='2'/>", /redefined/],
    ["an attribute without quotes", "<a b=1/>", "1:3 the tag <a is not well-formed from here on"],
    ["an attribute with a tag in it", "<a b='<c/>'/>", "1:3 the tag <a is not well-formed from here on"],
    ["an undeclared namespace", "<a><b:c/></a>", /Namespace/i],
    ["a comment that never ends", "<a><!-- </a>", "1:4 <!-- is never closed by -->"],
    ["a bare <", "<a> < </a>", '1:5 a "<" that does not begin a tag'],
    ["elements without end", `${"<a>".repeat(65)}`, "1:193 elements are nested more than 64 deep"],
    [
      "too many attributes",
      `<a ${Array.from({ length: 129 }, (_, value) => `b${value}=""`).join(" ")}/>`,
      "1:1 an element has more than 128 attributes",
    ],
    ["a text without end", `<a>${"x".repeat(2 ** 20)}</a>`, /has 1048583 characters$/],
  ])("with %s is refused, with its place", (_, text, refusal) => {
    if (typeof refusal === "string") expect(refusalOf(text)).toBe(refusal);
    else expect(refusalOf(text)).toMatch(refusal);
  });

  test("is refused or read, and never throws another error", () => {
    const alphabet = fc.constantFrom(
      ..."<>/&;='\" \n[]!?-#x0aA:",
      "<!--",
      "-->",
      "<![CDATA[",
      "]]>",
      "<?xml",
      "?>",
      "<!DOCTYPE",
      "&amp;",
      "xmlns",
      "<domain>",
      "</domain>",
      "\u0000",
      "\ufffe",
    );
    const texts = fc.oneof(
      fc.array(alphabet, { maxLength: 60 }).map((items) => items.join("")),
      fc.string({ unit: "binary" }),
    );
    fc.assert(
      fc.property(texts, (text) => {
        for (const item of [text, `<domain type='qemu'>${text}</domain>`]) {
          try {
            parseDomain(item);
          } catch (error) {
            expect(error).toBeInstanceOf(DomainXmlError);
          }
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test("that was damaged is also refused or read", () => {
    const xml = domainXml({ devices: "<disk type='file'><source file='/a'/><target dev='vda'/></disk>" });
    const place = fc.nat(xml.length);
    fc.assert(
      fc.property(place, place, fc.string(), (from, to, instead) => {
        const damaged = xml.slice(0, Math.min(from, to)) + instead + xml.slice(Math.max(from, to));
        try {
          parseDomain(damaged);
        } catch (error) {
          expect(error).toBeInstanceOf(DomainXmlError);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test.each([
    ["elements", "<a/>", ""],
    ["namespaces", "<x:a xmlns:x='u'/>", ""],
    ["comments", "<!---->", ""],
    ["sections", "<![CDATA[x]]>", ""],
    ["instructions", "<?a?>", ""],
    ["references", "&lt;", ""],
    ["spaces in a tag", " ", "<a"],
    ["bytes in a name", "a", "<a"],
    ["bytes in an attribute", "a", "<a b='"],
    ["unfinished comments", "<!--", ""],
    ["ampersands", "&", ""],
    ["brackets", "<", ""],
  ])(
    "of a quarter of a megabyte of %s is read or refused within the test's time limit",
    (_, piece, begin) => {
      const text = `<domain>${begin}${piece.repeat(2 ** 18 / piece.length)}</domain>`;
      expect(refusalOf(text)).toMatch(/let through|\d+:\d+ /);
    },
  );

  test("is printed as it was read: elements, attributes, texts, comments, in any namespace", () => {
    fc.assert(
      fc.property(xmlTree, (text) => {
        const once = printXml(parseXml(text));
        expect(structureOf(parseXml(once))).toEqual(structureOf(parseXml(text)));
        expect(printXml(parseXml(once))).toBe(once);
      }),
    );
  });
});
