// Measures the downtime with each feature by QEMU's timestamps: switchover and the shortest script, interleaved, same guest.

import { rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { migrate } from "../src/library/local/migrate.js";
import { diskSideArgs } from "../src/proof-guest/disk.js";
import { launchProofGuest } from "../src/proof-guest/launch.js";
import { diskMiB, featureTable, type Measured, makeImage } from "./feature-table.js";
import { median } from "./median.js";
import { bareQemu, shortest } from "./shortest.js";

/** Long enough for the guest to have touched its whole working set, so that all move the same memory. */
const settled = () => new Promise((resolve) => setTimeout(resolve, 1200));
/** Warm-up runs: the code of a daemon would be warm too. */
const warming = 2;
const diskBytes = diskMiB * 2 ** 20;
const format = "raw";

export async function measurePauses(directory: string, runs: number) {
  const at = (name: string) => join(directory, name);
  const pauses = featureTable(directory).map((feature) => ({
    feature,
    ours: [] as number[],
    script: [] as number[],
  }));
  let images = 0;
  let image = at("0.img");
  makeImage(image, diskBytes);
  const proof = await launchProofGuest({ disk: { path: image, format } });
  let { guest } = proof;

  /** The same guest is used from one run to the next. */
  const ours = async ({ ours, during, copies, what }: Measured): Promise<number> => {
    images += 1;
    const next = copies === true ? at(`${images}.img`) : image;
    const storage = copies === true && {
      storage: { images: [{ disk: "proof", path: next, format } as const] },
    };
    const sideArgs = proof.nextSide("destination", { path: next, format });
    await settled();
    const migration = migrate({ guest, destination: { sideArgs }, ...ours, ...storage });
    await during?.(migration);
    const { guest: arrived, downtimeMs, error } = await migration.outcome;
    if (arrived === null || downtimeMs === null)
      throw new Error(`the guest of the benchmark did not arrive: ${what}`, { cause: error });
    guest = arrived;
    if (next !== image) {
      rmSync(image);
      // Otherwise the next downtime would include it.
      await using file = await open(next);
      await file.sync();
    }
    image = next;
    return downtimeMs;
  };

  const script = async ({ script, copies }: Measured): Promise<number> => {
    const paths = [at("here.img"), at(copies === true ? "there.img" : "here.img")] as const;
    for (const path of new Set(paths)) makeImage(path, diskBytes);
    const side = (name: "a" | "b", path: string, ...more: string[]) => {
      const own = ["-serial", `file:${at(`${name}.serial`)}`, ...diskSideArgs({ path, format }), ...more];
      return bareQemu([...guest.spec.args, ...own], at(`${name}.sock`));
    };
    const a = await side("a", paths[0]);
    const b = await side("b", paths[1], "-S", "-incoming", "defer");
    try {
      await settled();
      return await shortest(a.socket, b.socket, `unix:${at("m.sock")}`, script);
    } finally {
      for (const { child, socket } of [a, b]) {
        socket.destroy();
        child.kill("SIGKILL");
        await new Promise((resolve) => child.once("close", resolve));
      }
      for (const path of ["a.sock", "b.sock", "m.sock", "nbd.sock"]) rmSync(at(path), { force: true });
      for (const path of new Set(paths)) rmSync(path);
    }
  };

  for (let run = 0; run < runs + warming; run += 1)
    for (const paus of pauses) {
      paus.ours.push(await ours(paus.feature));
      // Prevents our process from taking CPU time from the script.
      await guest.process.main.execute("stop", {});
      paus.script.push(await script(paus.feature));
      await guest.process.main.execute("cont", {});
    }
  const { ok } = await proof.check();
  if (!ok) throw new Error("the continuity check of the benchmark guest failed");
  await guest.end();
  await proof.remove();
  return pauses.map(({ feature, ...all }) => {
    const warm = { ours: all.ours.slice(warming), script: all.script.slice(warming) };
    return { what: feature.what, oursMs: median(warm.ours), scriptMs: median(warm.script), raw: warm };
  });
}
