// Measures how the transfer time of a large guest's memory depends on the number of connections. The guest writes its memory once
// and is then paused, so that each variant sends the same data. Measures from the state `starting` to `handedOver`, with one
// guest that is migrated repeatedly.

import { migrate } from "../src/library/local/migrate.js";
import { launchProofGuest } from "../src/proof-guest/launch.js";
import { stateTimes } from "./feature-copies.js";
import { median } from "./median.js";

const memoryMiB = 512;
const ways = (["unix", "tcp"] as const).flatMap((transport) =>
  [null, 1, 2, 4].map((connections) => ({ transport, connections })),
);

export async function measureConnections(runs: number) {
  const proof = await launchProofGuest({
    memoryKiB: (memoryMiB + 16) * 1024 + 8,
    workingSetMiB: memoryMiB,
    dirtyMiBps: 128,
  });
  let { guest } = proof;
  await guest.process.main.execute("stop", {});
  const all = ways.map((way) => ({ ...way, wallMs: [] as number[] }));
  // The first run of each is a warm-up.
  for (let run = 0; run <= runs; run += 1)
    for (const { transport, connections, wallMs } of all) {
      const times = stateTimes();
      const outcome = await migrate({
        guest,
        transport,
        destination: { sideArgs: proof.nextSide("destination") },
        ...(connections !== null && { stream: { parallel: { connections } } }),
        observe: times.observe,
      }).outcome;
      if (outcome.guest === null)
        throw new Error("the guest of the benchmark did not arrive", { cause: outcome.error });
      guest = outcome.guest;
      if (run > 0) wallMs.push(times.between("starting", "handedOver"));
    }
  await guest.process.main.execute("cont", {});
  await proof.waitForPasses(1, 120_000);
  const { ok } = await proof.check();
  if (!ok) throw new Error("the continuity check of the benchmark guest failed");
  await guest.end();
  await proof.remove();
  const of = (transport: "unix" | "tcp", connections: number | null) =>
    median(
      all.find((candidate) => candidate.transport === transport && candidate.connections === connections)
        ?.wallMs ?? [],
    );
  const rows = [null, 1, 2, 4].map((connections) => ({
    connections,
    unixMs: of("unix", connections),
    tcpMs: of("tcp", connections),
    unixRatio: of("unix", connections) / of("unix", null),
    tcpRatio: of("tcp", connections) / of("tcp", null),
  }));
  return { memoryMiB, rows, raw: all };
}
