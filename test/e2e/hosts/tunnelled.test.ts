// The memory stream inside the RPC connection of two switchoverds, on real QEMU and with real virsh; killed daemons and a cut
// cable are tested in settling.test.ts.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { MigrateFlag, MigrateParameters } from "../../../src/drivers/libvirt/client/flags.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { migrateBetween } from "../../../src/library/remote/migrate-between.js";
import { hostOf } from "../../support/either-host.js";
import { inTwoHosts, type TwoHosts, whole } from "../../support/host-process.js";
import { elder } from "../../support/legacy-host.js";
import { tiny as bare, hasLibvirtd } from "../../support/libvirtd.js";
import { qemusOf } from "../../support/qemus-of.js";
import { hasVirsh, VirshLab } from "../../support/virsh-lab.js";

const { procedures } = remote;
const slow = { bandwidthMiBps: 12 };

const tunnelled = (lab: TwoHosts, parameters: MigrateParameters = {}, more: readonly MigrateFlag[] = []) =>
  migrateBetween({
    from: lab.hosts.a.uri,
    to: lab.hosts.b.uri,
    domain: lab.guest.name,
    flags: [...whole, "PEER2PEER", "TUNNELLED", ...more],
    parameters: { xml: lab.guest.xml("b"), ...parameters },
  });

/** Waits until memory goes through the tunnel; the source's end of it exists then. */
async function sending(lab: TwoHosts): Promise<void> {
  await lab.jobAt("a", ({ memProcessed }) => memProcessed > 0n);
  const left = readdirSync(join(lab.hosts.a.directory, "run"));
  expect(left.some((text) => text.startsWith("out-"))).toBe(true);
}

describe("a tunnelled migration", () => {
  test.skipIf(!hasVirsh)("works with virsh, there and back", async () => {
    const lab = await VirshLab.begin();
    await lab.boot();
    await lab.a.virsh(
      ...["migrate", "--live", "--p2p", "--tunnelled", lab.guest.name, lab.b.tcp],
      ...["--xml", lab.xmlFile("b"), "--undefinesource"],
    );
    await lab.countsAt("b");
    await lab.b.virsh(
      ...["migrate", "--live", "--p2p", "--tunnelled", lab.guest.name, lab.a.tcp],
      ...["--xml", lab.xmlFile("again")],
    );
    await lab.guest.counts("again");
    lab.guest.check();
    expect(lab.guest.pids()).toHaveLength(1);
  });

  test("needs no port except the connection's", async () => {
    await inTwoHosts({}, async (lab) => {
      const { outcome } = await tunnelled(lab, slow);
      await sending(lab);
      const [, ...more] = lab.guest.pids().map(listening);
      expect(more.flat()).toEqual([]);
      expect(await outcome).toMatchObject({ kind: "arrived", error: null });
      expect(await lab.countsOn()).toBe("b");
    });
  });

  test("arrives at a host without the extensible parameters", async () => {
    await inTwoHosts({}, async (lab) => {
      const b = await elder(lab.hosts.b.uri, ["migrationParams"]);
      const where = { from: lab.hosts.a.uri, to: b.uri, domain: lab.guest.name };
      const parameters = { xml: lab.guest.xml("b") };
      const { outcome } = await migrateBetween({
        ...where,
        parameters,
        flags: [...whole, "PEER2PEER", "TUNNELLED"],
      });
      expect(await outcome).toMatchObject({ kind: "arrived" });
      expect(b.steps()).toEqual(["domainMigratePrepareTunnel3", "domainMigrateFinish3"]);
      expect(await lab.countsOn()).toBe("b");
    });
  });

  test("can be aborted in the middle", async () => {
    await inTwoHosts({}, async (lab) => {
      const { outcome, abort } = await tunnelled(lab, slow);
      await sending(lab);
      expect(await abort()).toMatchObject({ accepted: true });
      expect(await outcome).toMatchObject({ kind: "aborted" });
      expect(await lab.countsOn()).toBe("a");
    });
  });

  test("leaves the guest at the source when the destination's QEMU dies in the middle", async () => {
    await inTwoHosts({}, async (lab) => {
      const [first] = lab.guest.pids();
      const { outcome } = await tunnelled(lab, slow);
      await sending(lab);
      for (const pid of lab.guest.pids()) if (pid !== first) process.kill(pid, "SIGKILL");
      expect(await outcome).toMatchObject({ kind: "stayed" });
      expect(await lab.countsOn()).toBe("a");
    });
  });

  test.each([
    ["OFFLINE", {}, "nothing to tunnel"],
    [null, { uri: "tcp://127.0.0.1" }, "no migration URI"],
    [null, { listenAddress: "127.0.0.1" }, "no listen address"],
  ] as const)("with %s and %j is refused", async (flag, parameters, why) => {
    await inTwoHosts({}, async (lab) => {
      const { outcome } = await tunnelled(lab, parameters, flag === null ? [] : [flag]);
      const { kind, error } = await outcome;
      expect(kind).toBe("stayed");
      expect(error?.message).toContain(why);
      await lab.runsAt("a");
    });
  });
});

describe.skipIf(!hasLibvirtd)("a tunnel with a libvirtd at one end", () => {
  test.each([
    ["libvirtd", "switchoverd"],
    ["switchoverd", "libvirtd"],
  ] as const)("from a %s to a %s is refused, and says why", async (from, to) => {
    const [source, destination] = [await hostOf(from, "hosta"), await hostOf(to, "hostb")];
    const xmlDesc = bare.xml.replace("</domain>", "<devices/></domain>");
    onTestFinished(() => {
      for (const pid of qemusOf(bare.uuid)) process.kill(pid, "SIGKILL");
    });
    const { dom } = await source.redial.call(procedures.domainCreateXml, { xmlDesc, flags: 0 });
    const { outcome } = await migrateBetween({
      from: source.uri,
      to: destination.uri,
      domain: dom.name,
      flags: ["LIVE", "PEER2PEER", "TUNNELLED"],
    });
    const { kind, error } = await outcome;
    expect(kind).toBe("stayed");
    expect(error?.message).toContain("no return path");
    expect(qemusOf(bare.uuid)).toHaveLength(1);
  });
});

/** Returns the TCP sockets at which a process listens, by their inodes. */
function listening(pid: number): string[] {
  const listens = readFileSync("/proc/net/tcp", "utf8").matchAll(/^ *\d+: \S+ \S+ 0A (?:\S+ +){5}(\d+)/gm);
  const inodes = new Set([...listens].map(([, inode = ""]) => inode));
  const links = readdirSync(`/proc/${pid}/fd`).map((file) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${file}`);
    } catch {
      return "";
    }
  });
  return links.filter((link) => inodes.has(/^socket:\[(\d+)\]$/.exec(link)?.[1] ?? ""));
}
