// `switchover drain`: empties hosts, shows it, and tells each guest's story at the end.

import { randomBytes, randomUUID } from "node:crypto";
import { SingleBar } from "cli-progress";
import { systemClock } from "../drivers/system.js";
import { type Conducted, conduct } from "../fleet/conduct.js";
import type { Drain, DrainEvent, DrainWish, GuestStory } from "../fleet/drain.js";
import { type FileEngine, openFileEngine } from "../fleet/file-engine.js";
import { hostsMeant } from "../fleet/fleet.js";
import { type FleetFile, fleetNow, readFleetFile } from "../fleet/fleet-file.js";
import { plan } from "../fleet/plan.js";
import { RpcMover } from "../fleet/rpc-mover.js";
import { messageOf } from "../protocol/answer.js";
import { badInputExitCode, type DrainWords } from "./words.js";

/** The drain's exit codes, beside bad input's. */
export const drainExitCodes = { empty: 0, someStayed: 3, someLost: 5, left: 6 } as const;

const complain = (sentence: string) => console.error(`switchover: ${sentence}`);
const say = ({ json }: DrainWords, sentence: string) => {
  if (json !== true) console.log(sentence);
};

/** The exit code. */
export async function drainCommand(what: readonly string[], words: DrainWords): Promise<number> {
  const clock = systemClock;
  const id = words.goOn ?? randomUUID();
  let file: FleetFile;
  let engine: FileEngine;
  let start: () => Promise<Begun>;
  try {
    if (what.length === 0 && words.goOn === undefined)
      throw new Error("say what is to be emptied: hosts by name, or by label, such as rack:r1");
    if (what.length > 0 && words.goOn !== undefined)
      throw new Error(`--go-on goes on with what that drain was begun for; leave out ${what.join(" ")}`);
    file = await readFleetFile(words.fleet);
    if (words.dryRun) return dryRun(await begun(what, words, file), words);
    const first = words.goOn === undefined ? await begun(what, words, file) : null;
    engine = await openFileEngine(words.log, id);
    if (first === null && engine.known === 0) {
      await engine.close();
      throw new Error(`${words.log} holds no drain ${id}`);
    }
    start = async () => first ?? never();
  } catch (error) {
    complain(messageOf(error));
    return badInputExitCode;
  }
  const uris = new Map(file.hosts.map((it) => [it.name, it.uri]));
  const peerUris = new Map(file.hosts.map((it) => [it.name, it.peerUri ?? it.uri]));
  const limited = words.bandwidth === 0 ? {} : { parameters: { bandwidthMiBps: words.bandwidth } };
  const mover = new RpcMover({ clock, uris, peerUris, ...limited });
  const screen = createScreen(words, engine.known);
  say(words, `drain ${id}`);
  const conducted = conduct({
    ...{ begun: start, engine, mover, clock, onEvent: screen.event },
    random: () => randomBytes(9).toString("hex"),
  });
  const stop = obeySignals(conducted, words, id);
  try {
    const guests = await conducted.ended;
    screen.end();
    return tell(guests, words);
  } catch (error) {
    screen.end();
    complain(`${messageOf(error)}; ${goingOn(words, id)}`);
    return drainExitCodes.left;
  } finally {
    stop();
    await mover.close();
    await engine.close();
  }
}

type Begun = Extract<DrainEvent, { kind: "begun" }>;
const never = (): never => {
  throw new Error("the drain has lost how it began");
};
const goingOn = ({ log, fleet }: DrainWords, id: string): string =>
  `go on with: switchover drain --go-on ${id} --log ${log} --fleet ${fleet}`;

async function begun(what: readonly string[], words: DrainWords, file: FleetFile): Promise<Begun> {
  const fleet = await fleetNow(file, systemClock);
  const nowMs = systemClock.now();
  const { perSource, perDestination, perLink, total, attempts, deadline } = words;
  const wish: DrainWish = {
    sources: hostsMeant(fleet, what),
    limits: { perSource, perDestination, perLink, total },
    attempts,
    deadlineMs: deadline === undefined ? null : nowMs + deadline * 1000,
  };
  return { kind: "begun", atMs: nowMs, wish, fleet };
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

function dryRun(first: Begun, words: DrainWords): number {
  const bytesPerSecond = (words.bandwidth === 0 ? assumedMiBps : words.bandwidth) * 2 ** 20;
  const { moves, stay, endsMs } = plan(first, { bytesPerSecond });
  if (words.json === true) console.log(JSON.stringify({ moves, stay: stay.map(short), endsMs }));
  else {
    for (const it of moves)
      console.log(
        `${seconds(it.beginsMs).padStart(9)}  ${it.name}: ${it.from} → ${it.to}, about ${seconds(it.takesMs)}`,
      );
    for (const { guest, why } of stay) console.log(`    stays  ${guest.name} at ${guest.host}: ${why}`);
    console.log(
      `${moves.length} guests would move in about ${seconds(endsMs)}, ${stay.length} would stay; nothing has been touched`,
    );
  }
  return stay.length === 0 ? drainExitCodes.empty : drainExitCodes.someStayed;
}

/** Of a migration whose bandwidth is not limited. */
const assumedMiBps = 1024;

const short = ({ guest, stands, at, moves, why }: GuestStory) => ({
  ...{ name: guest.name, uuid: guest.uuid, from: guest.host, at, stands, why },
  moves: moves.map(({ migrationId, to, end, why }) => ({ migrationId, to, end, why })),
});

function tell(guests: readonly GuestStory[], words: DrainWords): number {
  const those = (stands: GuestStory["stands"]) => guests.filter((it) => it.stands === stands);
  const [lost, stayed] = [those("lost"), those("given up")];
  if (words.json === true) console.log(JSON.stringify({ type: "report", guests: guests.map(short) }));
  else {
    for (const { guest, stands, at, moves, why } of guests) {
      const tries = moves.length > 1 ? `, after ${moves.length} attempts` : "";
      console.log(
        `${guest.name}: ${stands === "arrived" ? `${guest.host} → ${at}` : stands}${tries}${why && `: ${why}`}`,
      );
    }
    console.log(
      `${those("arrived").length} of ${guests.length} guests have arrived, ${stayed.length} stay where they were, ${lost.length} are lost`,
    );
  }
  if (lost.length > 0) return drainExitCodes.someLost;
  return stayed.length > 0 ? drainExitCodes.someStayed : drainExitCodes.empty;
}

/** `known`: events that were there before are not news. */
function createScreen({ json }: DrainWords, known: number) {
  const bar = new SingleBar({
    format: "[{bar}] {value} of {total} guests away, {underWay} under way, {stayed} given up",
    ...{ stream: process.stderr, hideCursor: true, clearOnComplete: true, gracefulExit: false },
  });
  const isShown = json !== true && process.stderr.isTTY;
  let seen = 0;
  return {
    event: (event: DrainEvent, drain: Drain) => {
      seen += 1;
      if (json === true && seen > known) console.log(JSON.stringify({ type: "event", ...event }));
      if (!isShown) return;
      const count = (...stands: readonly GuestStory["stands"][]) =>
        drain.stories.filter((it) => stands.includes(it.stands)).length;
      const rest = { underWay: drain.underWay.length, stayed: count("given up", "lost") };
      if (seen === 1) bar.start(drain.stories.length, 0, rest);
      else bar.update(count("arrived", "away"), rest);
    },
    end: () => bar.stop(),
  };
}

/** Ctrl-C: no more, and what is under way is undone; once more: go, and leave the rest as it is. SIGUSR1 pauses and goes on. */
function obeySignals(conducted: Conducted, words: DrainWords, id: string): () => void {
  let interrupts = 0;
  const interrupted = () => {
    interrupts += 1;
    if (interrupts === 1) {
      complain("cancelling: what is under way is undone if it still can be; Ctrl-C again leaves");
      conducted.cancel();
      return;
    }
    conducted.leave();
    complain(
      `left as it is; go on with: switchover drain --go-on ${id} --log ${words.log} --fleet ${words.fleet}`,
    );
    process.exit(drainExitCodes.left);
  };
  let isPaused = false;
  const paused = () => {
    isPaused = !isPaused;
    complain(isPaused ? "paused: what is under way goes on; SIGUSR1 again to go on" : "going on");
    if (isPaused) conducted.pause();
    else conducted.resume();
  };
  process.on("SIGINT", interrupted);
  process.on("SIGUSR1", paused);
  return () => {
    process.off("SIGINT", interrupted);
    process.off("SIGUSR1", paused);
  };
}
