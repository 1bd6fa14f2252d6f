// Measures the speed of a disk mirror: the time in the source's state `mirroring`, interleaved with `qemu-img convert` of the same
// disk over NBD into a QEMU like the destination.

import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { appendFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Observation } from "../src/effects/trace.js";
import { migrate } from "../src/library/local/migrate.js";
import { diskSideArgs } from "../src/proof-guest/disk.js";
import { launchProofGuest } from "../src/proof-guest/launch.js";
import { makeImage } from "./feature-table.js";
import { median } from "./median.js";
import { ask, bareQemu } from "./shortest.js";

const format = "raw";
const diskMiB = 512;

/** The time at which the source's machine entered each state. */
export function stateTimes() {
  const at = new Map<string, number>();
  const observe = (observation: Observation) => {
    if (observation.kind !== "state" || observation.side !== "source") return;
    const [state = ""] = /^\w+/.exec(observation.state) ?? [];
    if (!at.has(state)) at.set(state, performance.now());
  };
  const between = (from: string, to: string) => (at.get(to) ?? Number.NaN) - (at.get(from) ?? Number.NaN);
  return { observe, between };
}

export async function measureCopies(directory: string, runs: number) {
  const at = (name: string) => join(directory, name);
  let image = at("0.disk");
  for (let mebibyte = 0; mebibyte < diskMiB; mebibyte += 1) appendFileSync(image, randomBytes(2 ** 20));
  const proof = await launchProofGuest({ workingSetMiB: 4, dirtyMiBps: 4, disk: { path: image, format } });
  let { guest } = proof;

  const ours = async (run: number): Promise<number> => {
    const next = at(`${run + 1}.disk`);
    const times = stateTimes();
    const { guest: arrived, error } = await migrate({
      guest,
      destination: { sideArgs: proof.nextSide("destination", { path: next, format }) },
      storage: { images: [{ disk: "proof", path: next, format }] },
      observe: times.observe,
    }).outcome;
    if (arrived === null) throw new Error("the guest of the benchmark did not arrive", { cause: error });
    guest = arrived;
    rmSync(image);
    image = next;
    return times.between("mirroring", "starting");
  };

  const convert = async (): Promise<number> => {
    const [path, nbd] = [at("there.disk"), at("nbd.sock")];
    makeImage(path, diskMiB * 2 ** 20);
    const own = ["-serial", "null", ...diskSideArgs({ path, format }), "-S", "-incoming", "defer"];
    const { child, socket } = await bareQemu([...guest.spec.args, ...own], at("q.sock"));
    try {
      await ask(socket, "nbd-server-start", { addr: { type: "unix", data: { path: nbd } } });
      const disk = { id: "disk", "node-name": "proof-disk", name: "disk" };
      await ask(socket, "block-export-add", { ...disk, type: "nbd", writable: true });
      const from = ["-U", "-n", "-f", format, "-O", "raw", image];
      const startedMs = performance.now();
      await promisify(execFile)("qemu-img", ["convert", ...from, `nbd+unix:///disk?socket=${nbd}`]);
      return performance.now() - startedMs;
    } finally {
      socket.destroy();
      child.kill("SIGKILL");
      await new Promise((resolve) => child.once("close", resolve));
      for (const text of [path, nbd, at("q.sock")]) rmSync(text, { force: true });
    }
  };

  const all = { ours: [] as number[], convert: [] as number[] };
  // The first run of each is a warm-up.
  for (let run = 0; run <= runs; run += 1) {
    all.ours.push(await ours(run));
    all.convert.push(await convert());
  }
  const { ok } = await proof.check();
  if (!ok) throw new Error("the continuity check of the benchmark guest failed");
  await guest.end();
  await proof.remove();
  const raw = { ours: all.ours.slice(1), convert: all.convert.slice(1) };
  return { diskMiB, oursMs: median(raw.ours), convertMs: median(raw.convert), raw };
}
