import type { Element } from "@xmldom/xmldom";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkCompatibility } from "../../../../src/drivers/domain-xml/checks/compatibility.js";
import type { Move } from "../../../../src/drivers/domain-xml/checks/incompatibility.js";
import { parseDomain } from "../../../../src/drivers/domain-xml/domain.js";
import { domain } from "../../../../src/drivers/domain-xml/schema/domain.js";
import { parseXml, printXml } from "../../../../src/drivers/domain-xml/xml/parse.js";
import { childrenOf } from "../../../../src/drivers/domain-xml/xml/read.js";
import type { ElementType, Field } from "../../../../src/drivers/domain-xml/xml/table.js";
import { textOf } from "../../../support/arbitrary-domains.js";
import { build, domainXml } from "../../../support/domains.js";
import { cases } from "./cases/all.js";

const found = (move: Omit<Move, "source" | "destination"> & { source: string; destination?: string }) => {
  const { source, destination, ...rest } = move;
  return checkCompatibility({
    source: parseDomain(source),
    ...(destination !== undefined && { destination: parseDomain(destination) }),
    ...rest,
  }).map(({ code, path, what }) => `${code} ${path}: ${what}`);
};

interface Spot {
  readonly element: Element;
  readonly field: Field<unknown>;
  readonly name: string;
}

/** Every attribute of an element and below it, with its field. */
function spotsIn(type: ElementType<unknown>, element: Element): Spot[] {
  const own = type.variants?.alternatives[element.getAttribute(type.variants.by) ?? ""];
  return Object.entries({ ...type.fields, ...own }).flatMap(([key, field]): Spot[] => {
    const { is, name = key } = field;
    if (is.kind === "attribute") return element.hasAttribute(name) ? [{ element, field, name }] : [];
    // A field that is compared as a whole may be reported in other ways.
    if ((is.kind !== "child" && is.kind !== "list") || field.sees !== "value") return [];
    const children = childrenOf(element).filter((child) => child.localName === name);
    return children.flatMap((child) => spotsIn(is.type, child));
  });
}

describe("two domains", () => {
  test("differ exactly in the attributes that the guest can see, for each attribute of each case", () => {
    const spots = cases.flatMap(({ xml, says }) =>
      spotsIn(domain, parseXml(parseDomain(xml).xml)).map((_, index) => ({
        xml: parseDomain(xml).xml,
        says,
        index,
      })),
    );
    expect(spots.length).toBeGreaterThan(800);
    for (const [seed, { xml, index }] of spots.entries()) {
      const root = parseXml(xml);
      const spot = spotsIn(domain, root)[index];
      if (spot?.field.is.kind !== "attribute") throw new Error("the attribute has disappeared");
      const { element, name, field } = spot;
      const { value } = spot.field.is;
      const before = element.getAttribute(name) ?? "";
      const others = fc.sample(textOf(value), { numRuns: 8, seed }).map((drawn) => value.print(drawn));
      const after = others.find((other) => value.parse(other) !== value.parse(before));
      if (after === undefined) continue;
      element.setAttribute(name, after);
      const changed = printXml(root);
      const reasons = found({ source: xml, destination: changed, sameHost: true });
      const abi = reasons.filter((reason) => reason.startsWith("guest-abi"));
      const change = `${element.tagName}: ${name}="${before}" becomes "${after}"`;
      if (field.sees === "value") expect(abi.length, change).toBeGreaterThan(0);
      if (field.sees === "nothing") expect(abi, change).toEqual([]);
      // A refused domain has no arguments to compare.
      if (reasons.length === 0) expect(build(changed).spec, change).toEqual(build(xml).spec);
    }
  });

  test("are equal when one was completed from the other", () => {
    for (const { xml } of cases)
      expect(found({ source: xml, destination: parseDomain(xml).xml, sameHost: true })).toEqual([]);
  });

  test("are equal when one states the defaults of the other", () => {
    const said = domainXml({
      more: `<currentMemory unit='KiB'>65544</currentMemory><vcpu placement='static' current='1'>1</vcpu><clock offset='utc'/>
        <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>`,
    });
    expect(found({ source: domainXml(), destination: said, sameHost: true })).toEqual([]);
    expect(found({ source: said, destination: domainXml(), sameHost: true })).toEqual([]);
    const other = said.replace("'utc'", "'localtime'").replace(">destroy<", ">preserve<");
    expect(found({ source: domainXml(), destination: other, sameHost: true })).toEqual([
      'guest-abi domain/clock/@offset: it is "utc" at the source and "localtime" at the destination',
      'guest-abi domain/on_poweroff: it is "destroy" at the source and "preserve" at the destination',
    ]);
  });

  test("are equal wherever their images, display and labels are", () => {
    const on = (source: string, display: string, more: string) =>
      domainXml({ devices: `<disk ${source}<target dev='vda'/></disk>${display}`, more });
    const source = on("type='file'><source file='/a'/>", "<graphics type='vnc' port='5900'/>", "");
    const nbd =
      "type='network'><source protocol='nbd' name='a'><host transport='unix' socket='/s'/></source>";
    const listening =
      "<graphics type='vnc'><listen type='address' address='::1'/></graphics><audio id='1' type='none'/>";
    const destination = on(nbd, listening, "<seclabel type='none' model='dac'/>");
    expect(found({ source, destination, sameHost: true })).toEqual([]);
    expect(found({ source: destination, destination: source, sameHost: true })).toEqual([]);
  });

  test("have all their differences reported, with the place in each", () => {
    const source = domainXml({
      devices: `<disk type='file'><source file='/a'/><target dev='vda'/><serial>A</serial></disk>
    <interface type='user'><mac address='52:54:00:00:00:01'/></interface>`,
    });
    const destination = domainXml({
      machine: "q35",
      more: "<vcpu>2</vcpu>",
      devices: `<disk type='file'><source file='/b'/><target dev='vda'/></disk>
    <disk type='file'><source file='/c'/><target dev='vdb'/></disk>

    <interface type='user'><mac address='52:54:00:00:00:02'/></interface>`,
    }).replace(">65544<", ">131080<");
    const reasons = checkCompatibility({
      source: parseDomain(source),
      destination: parseDomain(destination),
      sameHost: true,
    });
    const at = (path: string) => reasons.find((reason) => reason.path === path);
    expect(at("domain/memory")).toMatchObject({
      code: "guest-abi",
      source: { line: 4 },
      destination: { line: 4 },
      what: 'it is "65544 KiB" at the source and "131080 KiB" at the destination',
    });
    expect(at("domain/os/type/@machine")?.what).toBe('it is "pc" at the source and "q35" at the destination');
    expect(at("domain/vcpu")).toMatchObject({ source: undefined, destination: { line: 6 } });
    expect(at("domain/devices/disk[1]/serial")).toMatchObject({ source: { line: 8 } });
    expect(at("domain/devices/interface[1]/mac/@address")).toMatchObject({
      source: { line: 9 },
      destination: { line: 11 },
      what: 'it is "52:54:00:00:00:01" at the source and "52:54:00:00:00:02" at the destination',
    });
    expect(reasons.some((reason) => reason.what.startsWith('it is absent at the source and "vdb"'))).toBe(
      true,
    );
    expect(reasons.every((reason) => reason.code === "guest-abi" && reason.next !== "")).toBe(true);
  });
});
