// What the command does to a migration between hosts while it runs, as virsh does: by the clock, or after a pass.

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

/** @throws Error when the words contradict one another, or one needs another. */
export const checkSteering = (words: SteerFlags): void => checkConvergencePolicy(convergenceOf(words));

export function steer(migration: RemoteMigration, words: SteerFlags, screen: Screen): void {
  const { timeout, postcopyAfterPrecopy } = words;
  const isOver = migration.outcome.then(() => true);
  /** False when the migration is over before. */
  const comes = async (isSo: () => Promise<boolean>): Promise<boolean> => {
    const later = () => new Promise<false>((resolve) => setTimeout(() => resolve(false), checkMs));
    while (!(await isSo())) if (await Promise.race([isOver, later()])) return false;
    return true;
  };
  const does = async (ending: keyof typeof endings): Promise<void> => {
    const { applied, why } = await endings[ending](migration);
    if (!applied) screen.say(`${ending} is refused: ${why}`);
  };
  const hasMadePass = async () => ((await migration.progress())?.pass ?? 0) >= 2;
  if (postcopyAfterPrecopy) void comes(hasMadePass).then((isSet) => (isSet ? does("postcopy") : undefined));
  if (timeout === undefined) return;
  const isLate = async () => ((await migration.progress())?.elapsedMs ?? 0) >= timeout * 1000;
  void comes(isLate).then((isSet) => (isSet ? does(timeoutEnding(words)) : undefined));
}
