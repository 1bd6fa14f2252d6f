// Tests the checker with a real loss: QEMU 7.2 under TCG loses dirty pages when the memory is a multiple of 256 KiB, and both
// sides report success. This is why the proof guest refuses such a memory size.
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { migrate } from "../../../src/library/local/migrate.js";
import { launchGuest } from "../../../src/library/local/running-guest.js";
import { checkContinuity } from "../../../src/proof-guest/continuity.js";
import { buildFirmware } from "../../../src/proof-guest/firmware.js";

const parameters = { pages: 100, pagesPerTick: 10, ticksPerSecond: 100 };
const afterMs = 500;
const passes = 5;
const slow = { bandwidthMiBps: 1, maxDowntimeMs: 1 };

test("the checker finds memory that QEMU itself has lost during a migration", async () => {
  const directory = mkdtempSync(join(tmpdir(), "lost-"));
  const firmware = join(directory, "firmware");
  writeFileSync(firmware, buildFirmware(parameters));
  const serial = (side: string) => ["-serial", `file:${join(directory, side)}`];
  const machine = ["-machine", "pc,accel=tcg", "-nodefaults", "-display", "none", "-bios", firmware];
  const spec = { name: "lost", uuid: randomUUID(), args: [...machine, "-m", `${64 * 1024}K`] };
  const guest = await launchGuest(spec, { sideArgs: serial("source") });
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  const migration = migrate({ guest, limits: slow, destination: { sideArgs: serial("destination") } });
  for await (const { progress } of migration.progress) {
    if ((progress?.pass ?? 0) < passes) continue;
    await migration.setMaxDowntime(2000);
    await migration.setBandwidth(0);
    break;
  }
  const outcome = await migration.outcome;
  expect(outcome.kind, "QEMU says that all is well").toBe("arrived");
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  const streams = ["source", "destination"].map((name) => ({
    name,
    bytes: readFileSync(join(directory, name)),
  }));
  const { ok, faults } = checkContinuity(streams, parameters);
  expect(ok).toBe(false);
  expect(faults.map((fault) => fault.kind)).toContain("memory");
  await outcome.guest?.end();
  rmSync(directory, { recursive: true });
});
