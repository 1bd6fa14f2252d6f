// `switchover drain`: empties hosts, shows it, and tells each guest's story at the end.

import { randomUUID } from "node:crypto";
import { MultiBar, type SingleBar } from "cli-progress";
import { systemClock } from "../../drivers/platform/clock.js";
import {
  type Drain,
  type DrainEvent,
  type DrainHow,
  defaultMigrationOptions,
  type GuestStory,
  type Move,
} from "../../fleet/drain.js";
import { type Begun, beginning, type DrainOptions, drain } from "../../fleet/drain-hosts.js";
import { openFileEngine } from "../../fleet/file-engine.js";
import { measureDirtyRates, readFleetFile } from "../../fleet/fleet-file.js";
import { type PlannedMove, plan } from "../../fleet/plan.js";
import type { Conducted, OpenEngine } from "../../fleet/run-drain.js";
import { describeForecast } from "../../protocol/convergence/forecast.js";
import { messageOf } from "../../protocol/effect-result.js";
import { askedByWords, libvirtOf } from "../../protocol/options/asked.js";
import { printable } from "../../protocol/printable.js";
import { badInputExitCode, type DrainFlags } from "../options/command-options.js";
import { askedBetween } from "../options/stream-options.js";
import { say, sayJson, warn } from "../print.js";

/** The drain's exit codes, beside bad input's. */
export const drainExitCodes = { empty: 0, someStayed: 3, someLost: 5, left: 6 } as const;

/** The exit code. */
export async function drainCommand(what: readonly string[], words: DrainFlags): Promise<number> {
  const id = words.goOn ?? randomUUID();
  let options: DrainOptions;
  let engine: OpenEngine;
  let first: Begun | null;
  try {
    if (what.length === 0 && words.goOn === undefined)
      throw new Error("say what is to be emptied: hosts by name, or by label, such as rack:r1");
    if (what.length > 0 && words.goOn !== undefined)
      throw new Error(`--go-on goes on with what that drain was begun for; leave out ${what.join(" ")}`);
    if (words.dryRun === true && words.goOn !== undefined)
      throw new Error("--dry-run is about a drain that has not begun; leave out --go-on");
    options = await optionsOf(what, words);
    const onAway = (why: string) => warn(`${why}; nothing goes there`);
    first = words.goOn === undefined ? await beginning(options, onAway) : null;
    if (first !== null && words.dryRun) return await dryRun(first, options, words);
    engine = await opened(words, id);
    if (first === null && engine.known === 0) {
      await engine.close();
      throw new Error(`${placeOf(words)} holds no drain ${id}`);
    }
  } catch (error) {
    warn(messageOf(error));
    return badInputExitCode;
  }
  const screen = createScreen(words, engine.known);
  if (words.json === true) sayJson({ type: "drain", id });
  else say(`drain ${id}`);
  let stop = () => {};
  try {
    const guests = await engine.run((steps) => {
      const told = { onEvent: screen.event, onTrouble: screen.trouble };
      const conducted = drain({ ...options, ...told }, steps, async () => first ?? never());
      stop = obeySignals(conducted, words, id, screen.note);
      return conducted.ended;
    });
    screen.end();
    return tell(guests, words);
  } catch (error) {
    screen.end();
    warn(`${messageOf(error)}; ${goingOn(words, id)}`);
    return drainExitCodes.left;
  } finally {
    stop();
    await engine.close();
  }
}

const never = (): never => {
  throw new Error("the drain has lost how it began");
};
const placeOf = ({ engine, log }: DrainFlags): string => (engine === undefined ? log : "the engine");
const goingOn = ({ engine, log, fleet }: DrainFlags, id: string): string =>
  `go on with: switchover drain --go-on ${id} ${engine === undefined ? `--log ${log}` : "--engine …"} --fleet ${fleet}`;

/** Loaded only when it is wanted. */
async function opened({ engine, log }: DrainFlags, id: string): Promise<OpenEngine> {
  if (engine === undefined) return openFileEngine(log, id);
  const { openDbosEngine } = await import("../../fleet/dbos-runner.js");
  return openDbosEngine(engine, id, warn);
}

async function optionsOf(hosts: readonly string[], words: DrainFlags): Promise<DrainOptions> {
  const { perSource, perDestination, perLink, total, attempts, deadline } = words;
  return {
    fleet: await readFleetFile(words.fleet),
    hosts,
    limits: { perSource, perDestination, perLink, total },
    attempts,
    ...(deadline !== undefined && { deadlineMs: Date.now() + deadline * 1000 }),
    how: howOf(words),
  };
}

/** @throws Error when the words do not go together. */
function howOf(words: DrainFlags): DrainHow {
  const { bandwidth: bandwidthMiBps } = words;
  askedBetween(words);
  const { flags, parameters } = libvirtOf(askedByWords(words));
  return {
    flags: [...defaultMigrationOptions.flags, ...flags],
    parameters: { ...parameters, ...(bandwidthMiBps !== 0 && { bandwidthMiBps }) },
  };
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

async function dryRun(first: Begun, { fleet }: DrainOptions, words: DrainFlags): Promise<number> {
  const bandwidthMiBps = words.bandwidth === 0 ? assumedMiBps : words.bandwidth;
  const leaving = first.fleet.guests.filter((guest) => first.wish.sources.includes(guest.host));
  const dirty = await measureDirtyRates(fleet, leaving, systemClock);
  const { moves, stay, endsMs } = plan(first, { bytesPerSecond: bandwidthMiBps * 2 ** 20, dirty });
  if (words.json === true) sayJson({ moves, stay: stay.map(short), endsMs });
  else {
    for (const move of moves)
      say(`${seconds(move.beginsMs).padStart(9)}  ${move.name}: ${move.from} → ${move.to}, ${outlook(move)}`);
    for (const { guest, why } of stay) say(`    stays  ${guest.name} at ${guest.host}: ${why}`);
    say(
      `${moves.length} guests would move in about ${seconds(endsMs)} at ${bandwidthMiBps} MiB/s each, ${stay.length} would stay; nothing has been touched`,
    );
  }
  return stay.length === 0 ? drainExitCodes.empty : drainExitCodes.someStayed;
}

const outlook = ({ takesMs, forecast }: PlannedMove): string => {
  const about = `about ${seconds(takesMs)}`;
  if (forecast.kind !== "converges") return `${about}; ${describeForecast(forecast)}`;
  // Less than QEMU itself needs.
  return forecast.downtimeMs === 0 ? about : `${about}, with a pause of up to ${forecast.downtimeMs} ms`;
};

/** Of a migration whose bandwidth is not limited. */
const assumedMiBps = 1024;

const short = ({ guest, status, at, moves, why }: GuestStory) => ({
  name: guest.name,
  uuid: guest.uuid,
  from: guest.host,
  at,
  status,
  why,
  moves: moves.map(({ migrationId, to, end, why }) => ({ migrationId, to, end, why })),
});

function tell(guests: readonly GuestStory[], words: DrainFlags): number {
  const those = (status: GuestStory["status"]) => guests.filter((guest) => guest.status === status);
  const [lost, stayed] = [those("lost"), those("given up")];
  if (words.json === true) sayJson({ type: "report", guests: guests.map(short) });
  else {
    for (const { guest, status, at, moves, why } of guests) {
      const tries = moves.length > 1 ? `, after ${moves.length} attempts` : "";
      say(
        `${guest.name}: ${status === "arrived" ? `${guest.host} → ${at}` : status}${tries}${why && `: ${why}`}`,
      );
    }
    say(
      `${those("arrived").length} of ${guests.length} guests have arrived, ${stayed.length} stay where they were, ${lost.length} are lost`,
    );
  }
  if (lost.length > 0) return drainExitCodes.someLost;
  return stayed.length > 0 ? drainExitCodes.someStayed : drainExitCodes.empty;
}

const format = "{name} [{bar}] {value} of {total} away, {underWay} under way, {stayed} given up";
/** More sources than these have no bar of their own. */
const maxBars = 12;

/** `known`: events that were there before are not news. */
function createScreen({ json }: DrainFlags, known: number) {
  const isShown = json !== true && process.stderr.isTTY;
  const bars = isShown
    ? new MultiBar({
        format,
        stream: process.stderr,
        hideCursor: true,
        clearOnComplete: true,
        gracefulExit: false,
      })
    : null;
  const rows = new Map<string, { readonly bar: SingleBar; readonly of: (story: GuestStory) => boolean }>();
  const begin = ({ wish, stories }: Drain) => {
    const add = (name: string, of: (story: GuestStory) => boolean) => {
      const bar = bars?.create(stories.filter(of).length, 0, {
        name: printable(name),
        underWay: 0,
        stayed: 0,
      });
      if (bar !== undefined) rows.set(name, { bar, of });
    };
    const width = Math.max(...wish.sources.map((source) => source.length), allName.length);
    if (wish.sources.length > 1 && wish.sources.length <= maxBars)
      for (const source of wish.sources) add(source.padEnd(width), ({ guest }) => guest.host === source);
    add(allName.padEnd(width), () => true);
  };
  const note = (sentence: string) => {
    // The bars are drawn again below it.
    if (bars === null) warn(sentence);
    else bars.log(`switchover: ${printable(sentence)}\n`);
  };
  const troubled = new Map<number, string>();
  let [seen, drawnMs] = [0, 0];
  return {
    event: (event: DrainEvent, drain: Drain) => {
      seen += 1;
      if (json === true && seen > known) sayJson({ type: "event", ...event });
      if (seen === 1) begin(drain);
      const nowMs = systemClock.now();
      if (nowMs - drawnMs < drawEachMs && drain.mode !== "closed") return;
      drawnMs = nowMs;
      const { stories } = drain;
      for (const { bar, of } of rows.values()) {
        const count = (...status: readonly GuestStory["status"][]) =>
          stories.filter((story) => of(story) && status.includes(story.status)).length;
        bar.update(count("arrived", "away"), {
          underWay: count("moving"),
          stayed: count("given up", "lost"),
        });
      }
    },
    trouble: (move: Move, why: string) => {
      if (json === true) sayJson({ type: "trouble", migrationId: move.migrationId, why });
      // Asked again each second: each reason is told once.
      else if (troubled.get(move.token) !== why)
        note(
          `${move.from} does not tell yet how the migration to ${move.to} goes, and is asked again: ${why}`,
        );
      troubled.set(move.token, why);
    },
    note,
    end: () => bars?.stop(),
  };
}
const allName = "all";
const drawEachMs = 100;

/** Ctrl-C: no more, and what is under way is undone; once more: go, and leave the rest as it is. SIGUSR1 pauses and goes on. */
function obeySignals(
  conducted: Conducted,
  words: DrainFlags,
  id: string,
  note: (sentence: string) => void,
): () => void {
  let interrupts = 0;
  const interrupted = () => {
    interrupts += 1;
    if (interrupts === 1) {
      note("cancelling: what is under way is undone if it still can be; Ctrl-C again leaves");
      conducted.cancel();
      return;
    }
    conducted.detach();
    note(`left as it is; ${goingOn(words, id)}`);
    process.exit(drainExitCodes.left);
  };
  let isPaused = false;
  const paused = () => {
    isPaused = !isPaused;
    note(isPaused ? "paused: what is under way goes on; SIGUSR1 again to go on" : "going on");
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
