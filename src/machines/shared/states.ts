// Which states are a side's end, read off the machines.

import type { Side } from "../../protocol/steps.js";
import { coordinatorMachine } from "../coordinator/machine.js";
import { destinationMachine } from "../destination/machine.js";
import { sourceMachine } from "../source/machine.js";
import { topState } from "./actions.js";

const machines = { source: sourceMachine, destination: destinationMachine, coordinator: coordinatorMachine };

/** Whether the side has come to its end. A side that is stuck has, and waits for a person. */
export const isFinal = (side: Side, state: string): boolean =>
  machines[side].root.states[topState(state) as never]?.["type"] === "final";
