import { describe, expect, test } from "vitest";
import { type VirshOption, virshOptions } from "../../../src/drivers/libvirt/client/virsh-options.js";
import { hasVirsh, migrationRefusal, refusal, VirshLab, virshHelp } from "../../support/virsh-lab.js";

/** Returns a value that virsh itself accepts. */
const values: Partial<Record<string, string>> = {
  "--comp-methods": "xbzrle",
  "--disks-uri": "tcp://127.0.0.1:49300",
  "--graphicsuri": "spice://127.0.0.1:5900",
  "--migrate-disks": "vda",
};
/** Options that virsh also requires. */
const companions: Partial<Record<string, readonly string[]>> = {
  "--tunnelled": ["--p2p"],
  "--copy-storage-synchronous-writes": ["--copy-storage-all"],
  "--postcopy-resume": ["--postcopy"],
  "--tls-destination": ["--tls"],
};

describe.skipIf(!hasVirsh)("the table of virsh migrate's options", () => {
  test("contains every option that virsh itself lists", async () => {
    const listed = (await optionsOfVirsh()).map(({ option }) => option);
    expect(listed.length).toBeGreaterThan(40);
    expect(Object.keys(virshOptions)).toEqual(expect.arrayContaining(listed));
  });

  test("gives the reason of each option that is refused", async () => {
    const lab = await VirshLab.begin();
    const { a, b, guest } = lab;
    await lab.boot();
    for (const { option, takes } of await optionsOfVirsh()) {
      const row: VirshOption | undefined = Object.entries(virshOptions).find(([it]) => it === option)?.[1];
      if (row?.refused === undefined || "virsh" in row) continue;
      const more = [...(takes === "" ? [] : [values[option] ?? "1"]), ...(companions[option] ?? [])];
      const to = more.includes("--p2p") ? b.tcp : b.uri;
      expect(await migrationRefusal(a.uri, "--live", guest.name, to, option, ...more)).toContain(row.refused);
    }
    expect(await refusal(lab.migrate("--live", "--direct"))).toContain("direct migration is not supported");
    expect(await refusal(a.virsh("migrate-postcopy", guest.name))).toContain(
      "post-copy can only be started while outgoing migration is in progress",
    );
    await lab.countsAt("a");
    expect(await b.virsh("list", "--all", "--name")).toBe("");
  });
});

async function optionsOfVirsh(): Promise<{ option: string; takes: string }[]> {
  const help = await virshHelp("migrate");
  const lines = help.slice(help.indexOf("OPTIONS")).matchAll(/^ +\[?(--[\w-]+)\]?(?: <(\w+)>)? /gm);
  return [...lines].map(([, option = "", takes = ""]) => ({ option, takes }));
}
