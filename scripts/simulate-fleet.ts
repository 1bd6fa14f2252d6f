// Drains a zone of a simulated fleet, with faults from a seed: `npm run simulate:fleet [hosts] [guests] [seed]`, 1,000 hosts
// and 20,000 guests by default. The orchestrator crashes ten times during the drain. Exits with 1 when a rule was violated.

import type { GuestStory } from "../src/fleet/drain.js";
import { selectHosts } from "../src/fleet/fleet.js";
import { MemoryEngine } from "../src/fleet/memory-engine.js";
import { type Conducted, conduct } from "../src/fleet/run-drain.js";
import { dice, fleetOf, SimulatedFleet } from "../test/support/simulated-fleet.js";

const [hosts = 1_000, guests = 20_000, seed = 1] = process.argv.slice(2).map(Number);
const crashes = 10;
const limits = { perSource: 2, perDestination: 2, perLink: 64, total: 256 };

const startedMs = performance.now();
const fleet = fleetOf(hosts, guests, seed);
const simulated = new SimulatedFleet(fleet, seed, { stay: 20, mute: 20 });
const engine = new MemoryEngine();
const { clock, mover, random } = simulated;
const sources = selectHosts(fleet, ["zone:z0"]);
let stories: readonly GuestStory[] | undefined;
let conducted: Conducted | undefined;
const takeOver = () => {
  conducted = conduct({
    engine: engine.open(),
    mover,
    clock,
    random,
    begun: async () => ({
      kind: "begun",
      atMs: 0,
      fleet,
      wish: { sources, limits, attempts: 4, deadlineMs: null },
    }),
  });
  conducted.ended.then(
    (changed) => {
      stories = changed;
    },
    () => {},
  );
};
takeOver();
const roll = dice(seed + 1);
for (let crash = 0; crash < crashes; crash += 1)
  clock.setTimeout(() => {
    conducted?.detach();
    takeOver();
  }, roll(120_000));
await simulated.run(() => stories !== undefined);

const all = stories ?? [];
const broken = simulated.check(limits);
for (const { guest, at } of all)
  if (simulated.where(guest.uuid) !== at)
    broken.push(`${guest.name} is not on the host that its story reports`);
const count = (status: GuestStory["status"]) => all.filter((guest) => guest.status === status).length;
const seconds = (performance.now() - startedMs) / 1000;
console.log(
  `${sources.length} of ${hosts} hosts drained of ${all.length} guests in ${(simulated.nowMs / 60_000).toFixed(1)} simulated minutes, ` +
    `${simulated.begun} migrations, ${count("arrived")} arrived, ${count("given up")} given up, ${crashes} crashes`,
);
console.log(`maximum concurrency: ${JSON.stringify(simulated.most)}, limits: ${JSON.stringify(limits)}`);
console.log(
  `${seconds.toFixed(1)} s, ${(engine.events.length / seconds).toFixed(0)} events per second, ${Math.round(process.memoryUsage().heapUsed / 2 ** 20)} MiB of heap`,
);
for (const sentence of broken) console.error(`BROKEN: ${sentence}`);
process.exitCode = broken.length === 0 && stories !== undefined ? 0 : 1;
