// Applies the timed options to a running migration between hosts, as virsh does: after a timeout or after the first pass.

import type { RemoteMigration } from "../library/remote/migrate-between.js";
import { checkConvergencePolicy } from "../protocol/convergence/validate.js";
import type { ConvergenceFlags } from "./options/command-options.js";
import { convergenceOf, timeoutEnding } from "./options/convergence.js";
import type { Screen } from "./output.js";

const checkMs = 50;

type SteerFlags = ConvergenceFlags & { readonly postcopy?: boolean };

const endings = {
  suspend: (remoteMigration: RemoteMigration) => remoteMigration.suspend(),
  postcopy: (remoteMigration: RemoteMigration) => remoteMigration.startPostcopy(),
  abort: async (remoteMigration: RemoteMigration) => {
    const { accepted, why } = await remoteMigration.abort();
    return { applied: accepted, why };
  },
};

/** @throws Error when options contradict one another, or one requires another. */
export const checkSteering = (flags: SteerFlags): void => checkConvergencePolicy(convergenceOf(flags));

export function steer(migration: RemoteMigration, flags: SteerFlags, screen: Screen): void {
  const { timeout, postcopyAfterPrecopy } = flags;
  const isOver = migration.outcome.then(() => true);
  /** Resolves to false when the migration ends before the condition holds. */
  const comes = async (isSo: () => Promise<boolean>): Promise<boolean> => {
    const later = () => new Promise<false>((resolve) => setTimeout(() => resolve(false), checkMs));
    while (!(await isSo())) if (await Promise.race([isOver, later()])) return false;
    return true;
  };
  const does = async (ending: keyof typeof endings): Promise<void> => {
    const { applied, why } = await endings[ending](migration);
    if (!applied) screen.say(`${ending} refused: ${why}`);
  };
  const hasMadePass = async () => ((await migration.progress())?.pass ?? 0) >= 2;
  if (postcopyAfterPrecopy) void comes(hasMadePass).then((isSet) => (isSet ? does("postcopy") : undefined));
  if (timeout === undefined) return;
  const isLate = async () => ((await migration.progress())?.elapsedMs ?? 0) >= timeout * 1000;
  void comes(isLate).then((isSet) => (isSet ? does(timeoutEnding(flags)) : undefined));
}
