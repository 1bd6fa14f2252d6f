// `switchover standing`, `switchover adopt` and `switchover release`: the domains of a host that it cannot simply start, and
// the operator's decision that ends that.

import * as z from "zod/mini";
import { standing } from "../../daemon/domains/records.js";
import { openConnection } from "../../drivers/libvirt/rpc/open.js";
import { remote } from "../../drivers/libvirt/rpc/procedures.js";
import { own } from "../../drivers/libvirt/rpc/switchover-program.js";
import { systemClock } from "../../drivers/platform/clock.js";
import { messageOf } from "../../protocol/effect-result.js";
import { anywhere, connectionUri } from "../../protocol/peer-text.js";
import { badInputExitCode } from "../options/command-options.js";
import { createScreen } from "../output.js";

const defaultUri = "qemu+unix:///system?socket=/run/switchover/switchover-sock";
const answerMs = 30_000;

export interface StandingFlags {
  readonly at?: string;
  readonly json?: true;
}

async function connected<T>(
  { at = defaultUri }: StandingFlags,
  ask: (rpc: Awaited<ReturnType<typeof openConnection>>["rpc"]) => Promise<T>,
): Promise<T> {
  const uri = connectionUri(at, { ...anywhere, certificates: true });
  const connection = await openConnection(uri, { clock: systemClock, deadlineMs: answerMs });
  try {
    return await ask(connection.rpc);
  } finally {
    await connection.close();
  }
}

/** Prints each domain that is quarantined or away, with the reason. */
export async function standingCommand(words: StandingFlags): Promise<number> {
  const screen = createScreen(words);
  try {
    const told = await connected(words, (rpc) => rpc.call(own.procedures.standing, null));
    const found = z.array(standing).parse(JSON.parse(told.domains));
    if (words.json) screen.say(JSON.stringify(found));
    else if (found.length === 0) screen.say("no domain is quarantined or away");
    for (const { name, quarantined, away } of words.json ? [] : found) {
      if (quarantined !== null) screen.say(`${name} is quarantined: ${quarantined}`);
      if (away !== null)
        screen.say(
          `${name} is away since ${new Date(away.sinceMs).toISOString()}: ${away.hostname || "another host"} has it, by the migration ${away.migrationId}`,
        );
    }
    return 0;
  } catch (error) {
    screen.warn(messageOf(error));
    return badInputExitCode;
  }
}

const said = {
  adopt: (name: string) =>
    `the copy of ${name} on this host is the guest; destroy every other copy before you resume it`,
  release: (name: string) =>
    `no copy of ${name} is on this host from now on; start it only when no copy of it runs elsewhere`,
};

/** Tells the host whether its copy of a domain is the guest, where the host cannot know it. */
export async function decideCommand(
  decision: keyof typeof said,
  name: string,
  words: StandingFlags,
): Promise<number> {
  const screen = createScreen(words);
  try {
    await connected(words, async (rpc) => {
      const { dom } = await rpc.call(remote.procedures.domainLookupByName, { name });
      await rpc.call(own.procedures[decision], { uuid: dom.uuid });
    });
    screen.say(said[decision](name));
    return 0;
  } catch (error) {
    screen.warn(messageOf(error));
    return badInputExitCode;
  }
}
