import { describe, expect, test } from "vitest";
import { bare, refusalsOf } from "../../../support/domains.js";
import { refusedDevices } from "./refused/devices.js";
import { refusedSystems } from "./refused/system.js";

describe("refused by name and place in a domain:", () => {
  test.each([...refusedSystems, ...refusedDevices])("%s", (_, xml, ...expected) => {
    const found = refusalsOf(xml, xml.includes("type='kvm'"));
    expect(found.map(({ path, what }) => [path, what])).toEqual(
      expected.map(([path, what]) => [path, expect.stringContaining(what)]),
    );
    const lines = xml.split("\n").length;
    for (const refusal of found) {
      expect(refusal.line).toBeGreaterThan(0);
      expect(refusal.line).toBeLessThanOrEqual(lines);
      expect(refusal.next).not.toBe("");
    }
  });

  test("KVM, where the host has none, with the host's reason", () => {
    expect(refusalsOf(bare({ type: "kvm" }), false)).toMatchObject([
      {
        code: "conflict",
        path: "domain/@type",
        line: 1,
        what: "KVM is not usable on this host: there is no /dev/kvm",
      },
    ]);
  });
});
