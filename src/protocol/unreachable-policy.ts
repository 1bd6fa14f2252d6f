// Policies of a source that has handed its guest over and cannot reach the destination, which alone can tell who runs
// it.

/**
 * `wait`: stays paused and asks again. `fence`: asks the fence, which can decide without the destination. `resume`:
 * resumes the guest at the source, as libvirt does: **unsafe**, since it may also run at the destination (G1).
 */
export type WhenUnreachable = "wait" | "fence" | "resume";

export interface Policy {
  readonly whenUnreachable: WhenUnreachable;
  /** Time for which the source asks the destination before the policy applies, in milliseconds. */
  readonly patienceMs: number;
}

export const defaultPolicy: Policy = { whenUnreachable: "wait", patienceMs: 60_000 };

/** @throws RangeError when the policy cannot be followed. */
export function checkPolicy({ whenUnreachable, patienceMs }: Policy, hasFence: boolean): void {
  if (!(patienceMs >= 0 && patienceMs <= 86_400_000))
    throw new RangeError(`patienceMs is ${patienceMs}; it must be from 0 to 86400000`);
  if (whenUnreachable === "fence" && !hasFence)
    throw new RangeError('the policy "fence" needs a fence: give one, or choose "wait"');
}
