// The relay between a source's QEMU and the destination's port, which exists only for the duration of the migration.

import { describe, expect, test } from "vitest";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { findByArgument } from "../../../src/drivers/platform/procfs.js";
import { inTwoHosts, streams, type TwoHosts } from "../../support/host-process.js";

/** Less than the guest dirties: the migration continues until a test raises the limit. */
const endless = { bandwidthMiBps: 2 };
const relayed = { migration: streams({ relay: true }) };
const relaysOf = ({ hosts }: TwoHosts): number[] =>
  findByArgument(`${hosts.a.directory}/run/relay-`).map(({ pid }) => pid);

async function moving(lab: TwoHosts) {
  const { outcome } = await lab.managed(endless);
  await lab.jobAt("a", ({ memTotal }) => memTotal > 0n);
  return { outcome };
}

async function letGo(lab: TwoHosts): Promise<void> {
  const rpc = await lab.rpc("a");
  await rpc.call(remote.procedures.domainMigrateSetMaxSpeed, { dom: lab.dom, bandwidth: 0n, flags: 0 });
}

describe("the memory stream between hosts", () => {
  test("passes through a relay, which ends with the migration", async () => {
    await inTwoHosts(relayed, async (lab) => {
      const { outcome } = await moving(lab);
      expect(relaysOf(lab)).toHaveLength(1);
      await letGo(lab);
      expect((await outcome).kind).toBe("arrived");
      expect(await lab.countsOn()).toBe("b");
      expect(relaysOf(lab)).toEqual([]);
    });
  });

  test("bypasses the relay when the configuration disables it", async () => {
    await inTwoHosts({ migration: streams({ relay: false }) }, async (lab) => {
      const { outcome } = await moving(lab);
      expect(relaysOf(lab)).toEqual([]);
      await letGo(lab);
      expect((await outcome).kind).toBe("arrived");
      expect(await lab.countsOn()).toBe("b");
    });
  });

  test("breaks when its relay dies, and the guest stays", async () => {
    await inTwoHosts(relayed, async (lab) => {
      const { outcome } = await moving(lab);
      for (const pid of relaysOf(lab)) process.kill(pid, "SIGKILL");
      expect((await outcome).kind).toBe("stayed");
      expect(await lab.countsOn()).toBe("a");
    });
  });

  test("continues when the source's daemon dies, and the next daemon ends the relay", async () => {
    await inTwoHosts(relayed, async (lab) => {
      const ended = lab.peerToPeer("a", "b", "b", endless).catch(() => {});
      await lab.jobAt("a", ({ memTotal }) => memTotal > 0n);
      const [relay] = relaysOf(lab);
      await lab.restart("a");
      expect(relaysOf(lab)).toEqual([relay]);
      await letGo(lab);
      await ended;
      expect(await lab.countsOn()).toBe("b");
      expect(relaysOf(lab)).toEqual([]);
    });
  });

  test("reports why the relay cannot carry it", async () => {
    await inTwoHosts(relayed, async (lab) => {
      // No process listens there: the destination's QEMU listens at another address.
      const { outcome } = await lab.managed({ uri: "tcp://127.0.0.9:9", listenAddress: "127.0.0.1" });
      const { kind, error } = await outcome;
      expect(kind).toBe("stayed");
      expect(error?.message).toContain("the relay: connect ECONNREFUSED 127.0.0.9:9");
      expect(await lab.countsOn()).toBe("a");
    });
  });
});
