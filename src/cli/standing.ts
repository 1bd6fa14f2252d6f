// `switchover standing` and `switchover release`: the domains of a host that it cannot simply start, and the operator's word
// that ends that.

import * as z from "zod/mini";
import { standing } from "../daemon/domain-records.js";
import { openConnection } from "../drivers/libvirt-rpc/open.js";
import { own } from "../drivers/libvirt-rpc/own-procedures.js";
import { remote } from "../drivers/libvirt-rpc/procedures.js";
import { systemClock } from "../drivers/system.js";
import { messageOf } from "../protocol/answer.js";
import { anywhere, connectionUri } from "../protocol/peer-text.js";
import { createScreen } from "./screen.js";
import { badInputExitCode } from "./words.js";

const defaultUri = "qemu+unix:///system?socket=/run/switchover/switchover-sock";
const answerMs = 30_000;

export interface StandingWords {
  readonly at?: string;
  readonly json?: true;
}

async function connected<T>(
  { at = defaultUri }: StandingWords,
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
export async function standingCommand(words: StandingWords): Promise<number> {
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
          `${name} is away since ${new Date(away.sinceMs).toISOString()}: it left for ${away.hostname || "another host"} by the migration ${away.migrationId}`,
        );
    }
    return 0;
  } catch (error) {
    screen.complain(messageOf(error));
    return badInputExitCode;
  }
}

/** Ends the quarantine of a domain that no QEMU carries, or its mark as being away. */
export async function releaseCommand(name: string, words: StandingWords): Promise<number> {
  const screen = createScreen(words);
  try {
    await connected(words, async (rpc) => {
      const { dom } = await rpc.call(remote.procedures.domainLookupByName, { name });
      await rpc.call(own.procedures.release, { uuid: dom.uuid });
    });
    screen.say(`${name} can be started here again; if a copy of it runs elsewhere, do not start it`);
    return 0;
  } catch (error) {
    screen.complain(messageOf(error));
    return badInputExitCode;
  }
}
