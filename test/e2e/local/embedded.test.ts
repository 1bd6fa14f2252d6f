import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { adoptGuest, type Launcher, launchGuest, migrate } from "../../../src/index.js";
import { qemusOf } from "../../support/qemus-of.js";

let directory: string;
let children: ChildProcess[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "own-"));
  children = [];
});
afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(directory, { recursive: true, force: true });
});

const spec = {
  name: "own",
  uuid: randomUUID(),
  args: ["-machine", "pc,accel=tcg", "-nodefaults", "-display", "none", "-m", "65544K"],
};

/** An embedder's own function that starts QEMU. */
function launchIn(place: string, sideArgs: readonly string[] = []) {
  const monitors = { main: join(place, "a.qmp"), rescue: join(place, "b.qmp") };
  const words = Object.values(monitors).flatMap((path) => ["-qmp", `unix:${path},server=on,wait=off`]);
  const child = spawn("qemu-system-x86_64", ["-uuid", spec.uuid, ...spec.args, ...sideArgs, ...words], {
    stdio: "ignore",
  });
  children.push(child);
  if (child.pid === undefined) throw new Error("QEMU was not started");
  return { pid: child.pid, monitors };
}

describe("an embedder's own QEMUs", () => {
  test("are attached to, moved into one that the embedder starts, and ended", async () => {
    const guest = await adoptGuest({ spec, ...launchIn(directory) });
    const launched: number[] = [];
    const launch: Launcher = async ({ sideArgs, directory: place }) => {
      const item = launchIn(place, sideArgs);
      launched.push(item.pid);
      return item;
    };
    const migration = migrate({ guest, destination: { launch } });
    const outcome = await migration.outcome;
    expect(outcome).toMatchObject({ kind: "arrived", runs: "destination" });
    expect(outcome.guest?.process.pid).toBe(launched[0]);
    expect(qemusOf(spec.uuid)).toEqual(launched);
    await outcome.guest?.end();
    expect(qemusOf(spec.uuid)).toEqual([]);
    expect(readdirSync(tmpdir())).not.toContain(`switchover-${migration.migrationId}`);
  });

  test("stay where they are when the embedder's launcher fails, with its message as the reason", async () => {
    const guest = await adoptGuest({ spec, ...launchIn(directory) });
    const launch: Launcher = async () => {
      throw new Error("no room on this host");
    };
    const outcome = await migrate({ guest, destination: { launch } }).outcome;
    expect(outcome).toMatchObject({ kind: "stayed", error: { step: "prepare", side: "destination" } });
    expect(outcome.error?.message).toContain("no room on this host");
    await guest.end();
  });

  test("are refused when there is no such process", async () => {
    const { monitors } = launchIn(directory);
    await expect(adoptGuest({ spec, pid: 2 ** 22 - 1, monitors })).rejects.toThrow("no process has the id");
  });
});

test("are refused with a directory that is too long for a monitor's socket", async () => {
  const long = join(directory, "x".repeat(90));
  mkdirSync(long);
  vi.stubEnv("TMPDIR", long);
  await expect(launchGuest(spec)).rejects.toThrow(/too long for a unix socket.*set TMPDIR/);
  expect(readdirSync(long)).toEqual([]);
});
