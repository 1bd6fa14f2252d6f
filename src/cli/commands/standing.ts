// `switchover standing`, `switchover adopt` and `switchover release`: lists the domains that a host refuses to start, and
// records the operator's decision about one.

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

/** Prints each domain that is quarantined or away, with the reason. Returns the exit code. */
export async function standingCommand(flags: StandingFlags): Promise<number> {
  const screen = createScreen(flags);
  try {
    const told = await connected(flags, (rpc) => rpc.call(own.procedures.standing, null));
    const found = z.array(standing).parse(JSON.parse(told.domains));
    if (flags.json) screen.say(JSON.stringify(found));
    else if (found.length === 0) screen.say("no domain is quarantined or away");
    for (const { name, quarantined, away } of flags.json ? [] : found) {
      if (quarantined !== null) screen.say(`${name} is quarantined: ${quarantined}`);
      if (away !== null)
        screen.say(
          `${name} is away since ${new Date(away.sinceMs).toISOString()}: it is on ${away.hostname || "another host"} after migration ${away.migrationId}`,
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
    `this host's copy of ${name} is now the guest; destroy every other copy before you resume it`,
  release: (name: string) =>
    `this host's copy of ${name} was given up; start ${name} only when no copy of it runs elsewhere`,
};

/** Records the operator's decision whether the host's copy of a domain is the guest. Returns the exit code. */
export async function decideCommand(
  decision: keyof typeof said,
  name: string,
  flags: StandingFlags,
): Promise<number> {
  const screen = createScreen(flags);
  try {
    await connected(flags, async (rpc) => {
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
