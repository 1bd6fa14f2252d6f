// `switchover check`: reports whether a guest can be migrated between two hosts, with every blocker.

import { readFile } from "node:fs/promises";
import { type Checked, checkBetween } from "../../library/preflight.js";
import { messageOf } from "../../protocol/effect-result.js";
import { badInputExitCode, type CheckFlags } from "../options/command-options.js";
import { say, sayJson, warn } from "../print.js";

/** Exit code when the guest cannot be migrated. */
export const cannotMoveExitCode = 1;

/** Returns the exit code. */
export async function checkCommand({ from, to, domain, xml, json }: CheckFlags): Promise<number> {
  let checked: Checked;
  try {
    checked = await checkBetween({
      from,
      to,
      domain,
      ...(xml !== undefined && { xml: await readFile(xml, "utf8") }),
    });
  } catch (error) {
    warn(messageOf(error));
    return badInputExitCode;
  }
  const { reasons, silent } = checked;
  if (json === true) sayJson(checked);
  else {
    for (const { code, path, what, next } of reasons) say(`${path}: ${what}; ${next} (${code})`);
    for (const side of silent)
      say(`the ${side} host does not run switchoverd, so its resources were not checked`);
    const blockers = reasons.length === 1 ? "1 blocker" : `${reasons.length} blockers`;
    say(reasons.length === 0 ? `${domain} can be migrated` : `${domain} cannot be migrated: ${blockers}`);
  }
  return reasons.length === 0 ? 0 : cannotMoveExitCode;
}
