// Counts the transitions at the top level of each machine: `npx tsx scripts/count-arrows.ts`.

import { coordinatorMachine } from "../src/machines/coordinator/machine.js";
import { destinationMachine } from "../src/machines/destination/machine.js";
import { overviewOf } from "../src/machines/shared/walk.js";
import { sourceMachine } from "../src/machines/source/machine.js";

for (const machine of [sourceMachine, destinationMachine, coordinatorMachine]) {
  const arrows = overviewOf(machine);
  console.log(
    `${machine.id}: ${arrows.length} arrows between ${Object.keys(machine.root.states).length} boxes`,
  );
  for (const { from, to } of arrows) console.log(`  ${from} -> ${to}`);
}
