// `switchover check`: says whether a guest can move between two hosts, and everything that stands against it.

import { readFile } from "node:fs/promises";
import { type Checked, checkBetween } from "../../library/preflight.js";
import { messageOf } from "../../protocol/effect-result.js";
import { badInputExitCode, type CheckFlags } from "../options/command-options.js";
import { say, sayJson, warn } from "../print.js";

/** It cannot move. */
export const cannotMoveExitCode = 1;

/** The exit code. */
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
    for (const side of silent) say(`the ${side}'s host is no switchoverd and does not tell what it has`);
    say(reasons.length === 0 ? `${domain} can move` : `${domain} cannot move: ${reasons.length} reasons`);
  }
  return reasons.length === 0 ? 0 : cannotMoveExitCode;
}
