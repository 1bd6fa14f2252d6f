// Replays the calls of a migration that has ended over new connections: none of them may change anything.

import { readCookie } from "../../src/drivers/libvirt/cookie/cookie.js";
import { decisions, own } from "../../src/drivers/libvirt/rpc/switchover-program.js";
import { BrokenGuarantee } from "./host-operator.js";
import type { TwoHosts } from "./host-process.js";
import { noCookie, StepByStep } from "./step-by-step.js";

/** Moves the guest from a to b step by step; returns a function that sends each of those calls once more. */
export async function strays(lab: TwoHosts): Promise<() => Promise<void>> {
  const earlier = await StepByStep.through("confirm", lab);
  const { uuid, name } = lab.guest;
  const seen = readCookie(earlier.cookies.begin, { name, uuid, hostUuid: "", reads: [] });
  const migrationId = seen?.cookie.switchover?.migration ?? "";
  return async () => {
    const again = await StepByStep.over(lab);
    again.repeat(earlier);
    const settle = (side: "a" | "b", how: "settle" | "concede") => async () => {
      const rpc = await lab.redial(side).rpc();
      const { decision } = await rpc.call(own.procedures[how], { migrationId, uuid, name });
      if (decision !== decisions.taken)
        throw new BrokenGuarantee("two", `${side} answers that a taken guest was refused`);
    };
    const calls: readonly (() => Promise<void>)[] = [
      () => again.confirm(noCookie, 1),
      () => again.finish(undefined, 1),
      () => again.perform(),
      () => again.prepare(),
      settle("b", "settle"),
      settle("b", "concede"),
      () => again.confirm(undefined, 0),
      () => again.finish(undefined, 0),
      () => again.begin(),
    ];
    for (const call of calls)
      await call().catch((error: unknown) => {
        if (error instanceof BrokenGuarantee) throw error;
      });
  };
}
