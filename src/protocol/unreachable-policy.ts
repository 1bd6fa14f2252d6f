// What a source does that has handed its guest over and cannot reach the destination, which alone knows who runs it.

/**
 * `wait`: stays paused and asks again. `fence`: asks the fence, which knows or decides it without the destination.
 * `resume`: lets the guest run at the source, as libvirt does: **unsafe**, since it may run at the destination too (G1).
 */
export type WhenUnreachable = "wait" | "fence" | "resume";

export interface Policy {
  readonly whenUnreachable: WhenUnreachable;
  /** How long the source asks the destination before it does so, in milliseconds. */
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
