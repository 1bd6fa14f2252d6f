// Migrates between two versions of QEMU, on real ones: with the same versioned machine, the options that both support, and a
// clear message about those that one of them lacks (G1, G6, G7).

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { StreamOptions } from "../../../src/protocol/stream.js";
import { inLab, type Lab, memoryMoves } from "../../support/proof-guests.js";
import { secondQemu } from "../../support/second-qemu.js";

const system = "qemu-system-x86_64";
const second = secondQemu ?? "";
/** A machine of the older version, which both support. */
const machine = "pc-i440fx-7.2";
const small = { workingSetMiB: 4, dirtyMiBps: 16, machine };

/** Migrates the guest into a QEMU of that binary. */
const into = (lab: Lab, binary: string, stream: StreamOptions = {}) =>
  lab.ended(lab.migrate({ stream, destination: { binary, sideArgs: lab.proof.nextSide("destination") } }));

const version = async (lab: Lab) =>
  (await lab.guest?.process.main.execute("query-version", {}))?.qemu.major ?? 0;

describe.skipIf(secondQemu === null)("between two versions of QEMU a guest", () => {
  test.each<[string, StreamOptions]>([
    ["on one connection", {}],
    ["on parallel connections", { parallel: { connections: 3 } }],
    ["with zlib", { parallel: {}, compression: { zlib: {} } }],
    ["with zstd", { parallel: {}, compression: { zstd: {} } }],
    ["with xbzrle and auto-convergence", { compression: { xbzrle: {} }, autoConverge: {} }],
    ["ready for post-copy", { postcopy: { preempt: true } }],
  ])("goes up, along and down again %s", async (_, stream) => {
    await inLab({ ...small, binary: system }, async (lab) => {
      const old = await version(lab);
      for (const binary of [second, second, system]) {
        expect(await into(lab, binary, stream)).toMatchObject({ kind: "arrived", dropped: [] });
        if (binary === second) expect(await version(lab)).toBeGreaterThan(old);
      }
      expect(await version(lab)).toBe(old);
    });
  });

  test.each([
    [system, second],
    [second, second],
    [second, system],
  ] as const)("goes from %s into %s by post-copy, with its disk copied", async (from, to) => {
    const directory = mkdtempSync(join(tmpdir(), "disks-"));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const image = (name: string) => ({ path: join(directory, name), format: "qcow2" as const });
    execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", image("here").path, "16M"]);
    const guest = { memoryKiB: 131_080, workingSetMiB: 64, dirtyMiBps: 64, disk: image("here") };
    await inLab({ ...guest, binary: from, machine }, async (lab) => {
      const states: string[] = [];
      const migration = lab.migrate(
        {
          destination: { binary: to, sideArgs: lab.proof.nextSide("destination", image("there")) },
          storage: { images: [{ disk: "proof", ...image("there") }] },
          stream: { postcopy: {} },
          limits: { bandwidthMiBps: 24 },
        },
        (seen) => void (seen.kind === "state" && states.push(seen.state)),
      );
      await memoryMoves(migration);
      expect(await migration.startPostcopy()).toMatchObject({ applied: true });
      expect(await lab.ended(migration)).toMatchObject({ kind: "arrived" });
      expect(states).toContain("serving.watching");
    });
  });

  test.each([
    [system, second, "prepare", "destination"],
    [second, system, "begin", "source"],
  ] as const)(
    "from %s into %s is refused an option that one lacks, before its migration begins",
    async (from, to, step, side) => {
      await inLab({ ...small, binary: from }, async (lab) => {
        const outcome = await into(lab, to, { compression: { mt: {} } });
        expect(outcome).toMatchObject({ kind: "stayed", error: { step, side } });
        expect(outcome.error?.message).toContain(
          `compression.mt is not available: the ${side}'s QEMU does not support the capability "compress"`,
        );
        expect(await into(lab, to)).toMatchObject({ kind: "arrived" });
      });
    },
  );

  test("moves without the options that may be left out, which the outcome reports", async () => {
    await inLab({ ...small, binary: system }, async (lab) => {
      const stream: StreamOptions = {
        compression: { mt: {}, xbzrle: {} },
        dirtyLimit: {},
        optional: ["compression.mt", "dirtyLimit"],
      };
      const unknown = (side: string, what: string, age: string) =>
        `the ${side}'s QEMU does not support the capability "${what}", which QEMU ${age}`;
      expect(await into(lab, second, stream)).toMatchObject({
        kind: "arrived",
        dropped: [
          { option: "compression.mt", why: unknown("destination", "compress", "dropped in 9.1") },
          { option: "dirtyLimit", why: unknown("source", "dirty-limit", "supports since 8.1") },
        ],
      });
    });
  });

  test("stays when QEMU itself refuses an option, with QEMU's own message", async () => {
    await inLab({ ...small, binary: second }, async (lab) => {
      // The dirty ring needs KVM.
      const outcome = await into(lab, second, { dirtyLimit: { mibPerSecond: 8 } });
      expect(outcome).toMatchObject({ kind: "stayed", error: { side: "source" } });
      expect(outcome.error?.failures[0]?.qemu?.join()).toContain("dirty-limit requires KVM");
      expect(await into(lab, second)).toMatchObject({ kind: "arrived" });
    });
  });

  test("that the newer version cannot load is refused with QEMU's own message, and its QEMU is ended", async () => {
    await inLab({ ...small, binary: second }, async (lab) => {
      const { args } = lab.proof.guest.spec;
      const other = args.map((arg) => arg.replace(machine, "q35"));
      const destination = { args: other, sideArgs: lab.proof.nextSide("destination") };
      const outcome = await lab.ended(lab.migrate({ destination }));
      expect(outcome).toMatchObject({ kind: "stayed", runs: "source", error: { side: "destination" } });
      expect(outcome.error?.failures[0]).toMatchObject({
        message: expect.stringContaining("QEMU rejected the stream"),
        qemu: [
          expect.stringContaining("Machine type received"),
          expect.stringContaining("load of migration"),
        ],
      });
      expect(await into(lab, second)).toMatchObject({ kind: "arrived" });
    });
  });
});
