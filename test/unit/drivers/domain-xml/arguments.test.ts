import type { Element } from "@xmldom/xmldom";
import { describe, expect, test } from "vitest";
import { domain } from "../../../../src/drivers/domain-xml/schema/domain.js";
import { parseXml } from "../../../../src/drivers/domain-xml/xml/parse.js";
import { childrenOf } from "../../../../src/drivers/domain-xml/xml/read.js";
import type { ElementType } from "../../../../src/drivers/domain-xml/xml/table.js";
import { build, words } from "../../../support/domains.js";
import { cases } from "./cases/all.js";

function expectWords(args: readonly string[], wanted: readonly string[]): void {
  const all = words(args);
  const absent = wanted.filter((text) => text.startsWith("!")).map((text) => text.slice(1));
  expect(all).toEqual(expect.arrayContaining(wanted.filter((text) => !text.startsWith("!"))));
  for (const member of absent) expect(all.filter((word) => word.split(" ")[0] === member)).toEqual([]);
}

describe("the QEMU arguments for", () => {
  test.each(cases)("$says", ({ xml, hardware = [], host }) => {
    const { spec, sideArgs } = build(xml);
    expectWords(spec.args, hardware);
    if (host !== undefined) expect(words(sideArgs).toSorted()).toEqual(host.toSorted());
    expect(build(xml)).toEqual({ spec, sideArgs });
  });

  test("a guest's environment and binary are part of the command that starts QEMU", () => {
    const find = (says: string) => cases.find((case_) => case_.says === says)?.xml ?? "";
    expect(build(find("arguments and an environment that go past us")).spec.env).toEqual({ A: "1", B: "" });
    expect(build(find("a q35 machine")).spec).toMatchObject({ name: "guest", binary: "qemu-system-x86_64" });
    const old = find("a q35 machine").replace("x86_64", "i686");
    expect(build(old).spec.binary).toBe("qemu-system-i386");
  });
});

/** Returns every field of the table below a type, with its first place, and every alternative of its variants. */
function partsOf({ fields, variants }: ElementType<unknown>, path: string, met = new Map<object, string>()) {
  for (const [key, field] of [fields, ...Object.values(variants?.alternatives ?? {})].flatMap(
    Object.entries,
  )) {
    const known = met.has(field) || field.is.kind.startsWith("refused");
    if (!known) met.set(field, `${path}/${key}`);
    if (!known && (field.is.kind === "child" || field.is.kind === "list"))
      partsOf(field.is.type, `${path}/${key}`, met);
  }
  for (const [name, it] of Object.entries(variants?.alternatives ?? {})) met.set(it, `${path}, ${name}`);
  return met;
}

/** Removes the parts that an element covers. */
function strike(type: ElementType<unknown>, element: Element, left: Map<object, string>): void {
  const variant = element.getAttribute(type.variants?.by ?? "");
  const own = variant === null ? undefined : type.variants?.alternatives[variant];
  if (own !== undefined) left.delete(own);
  for (const [key, field] of Object.entries({ ...type.fields, ...own })) {
    const { is, name = key } = field;
    const children = childrenOf(element).filter((child) => child.localName === name);
    const there =
      is.kind === "attribute"
        ? element.hasAttribute(name)
        : is.kind === "text"
          ? element.textContent?.trim() !== ""
          : children.length > 0;
    if (there) left.delete(field);
    if (is.kind === "child" || is.kind === "list") for (const child of children) strike(is.type, child, left);
  }
}

test("every part of the table is covered by a case", () => {
  const left = partsOf(domain, "domain");
  expect(left.size).toBeGreaterThan(150);
  for (const { xml } of cases) strike(domain, parseXml(xml), left);
  expect([...left.values()]).toEqual([]);
});
