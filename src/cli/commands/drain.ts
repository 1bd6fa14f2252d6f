// `switchover drain`: drains hosts, shows the progress, and reports per guest at the end.

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

/** The drain's exit codes, except that of invalid input. */
export const drainExitCodes = { empty: 0, someStayed: 3, someLost: 5, left: 6 } as const;

/** Returns the exit code. */
export async function drainCommand(what: readonly string[], flags: DrainFlags): Promise<number> {
  const id = flags.resume ?? randomUUID();
  let options: DrainOptions;
  let engine: OpenEngine;
  let first: Begun | null;
  try {
    if (what.length === 0 && flags.resume === undefined)
      throw new Error("no hosts given; name the hosts to drain, or select them by label, such as rack:r1");
    if (what.length > 0 && flags.resume !== undefined)
      throw new Error(`--resume drains the hosts that the drain was begun for; leave out ${what.join(" ")}`);
    if (flags.dryRun === true && flags.resume !== undefined)
      throw new Error("--dry-run plans a new drain; leave out --resume");
    options = await optionsOf(what, flags);
    const onAway = (why: string) => warn(`${why}; no guest is migrated there`);
    first = flags.resume === undefined ? await beginning(options, onAway) : null;
    if (first !== null && flags.dryRun) return await dryRun(first, options, flags);
    engine = await opened(flags, id);
    if (first === null && engine.known === 0) {
      await engine.close();
      throw new Error(`drain ${id} was not found in ${placeOf(flags)}`);
    }
  } catch (error) {
    warn(messageOf(error));
    return badInputExitCode;
  }
  const screen = createScreen(flags, engine.known);
  if (flags.json === true) sayJson({ type: "drain", id });
  else say(`drain ${id}`);
  let stop = () => {};
  try {
    const guests = await engine.run((steps) => {
      const told = { onEvent: screen.event, onTrouble: screen.trouble };
      const conducted = drain({ ...options, ...told }, steps, async () => first ?? never());
      stop = obeySignals(conducted, flags, id, screen.note);
      return conducted.ended;
    });
    screen.end();
    return tell(guests, flags);
  } catch (error) {
    screen.end();
    warn(`${messageOf(error)}; ${goingOn(flags, id)}`);
    return drainExitCodes.left;
  } finally {
    stop();
    await engine.close();
  }
}

const never = (): never => {
  throw new Error("the record of how the drain began is missing");
};
const placeOf = ({ engine, log }: DrainFlags): string => (engine === undefined ? log : "the engine");
const goingOn = ({ engine, log, fleet }: DrainFlags, id: string): string =>
  `resume it with: switchover drain --resume ${id} ${engine === undefined ? `--log ${log}` : "--engine …"} --fleet ${fleet}`;

/** Opens the engine; DBOS is loaded on demand. */
async function opened({ engine, log }: DrainFlags, id: string): Promise<OpenEngine> {
  if (engine === undefined) return openFileEngine(log, id);
  const { openDbosEngine } = await import("../../fleet/dbos-runner.js");
  return openDbosEngine(engine, id, warn);
}

async function optionsOf(hosts: readonly string[], flags: DrainFlags): Promise<DrainOptions> {
  const { perSource, perDestination, perLink, total, attempts, deadline } = flags;
  return {
    fleet: await readFleetFile(flags.fleet),
    hosts,
    limits: { perSource, perDestination, perLink, total },
    attempts,
    ...(deadline !== undefined && { deadlineMs: Date.now() + deadline * 1000 }),
    how: howOf(flags),
  };
}

/** @throws Error when options conflict. */
function howOf(flags: DrainFlags): DrainHow {
  const { bandwidth: bandwidthMiBps } = flags;
  askedBetween(flags);
  const asked = libvirtOf(askedByWords(flags));
  return {
    flags: [...defaultMigrationOptions.flags, ...asked.flags],
    parameters: { ...asked.parameters, ...(bandwidthMiBps !== 0 && { bandwidthMiBps }) },
  };
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

async function dryRun(first: Begun, { fleet }: DrainOptions, flags: DrainFlags): Promise<number> {
  const bandwidthMiBps = flags.bandwidth === 0 ? assumedMiBps : flags.bandwidth;
  const leaving = first.fleet.guests.filter((guest) => first.wish.sources.includes(guest.host));
  const dirty = await measureDirtyRates(fleet, leaving, systemClock);
  const { moves, stay, endsMs } = plan(first, { bytesPerSecond: bandwidthMiBps * 2 ** 20, dirty });
  if (flags.json === true) sayJson({ moves, stay: stay.map(short), endsMs });
  else {
    for (const move of moves)
      say(`${seconds(move.beginsMs).padStart(9)}  ${move.name}: ${move.from} → ${move.to}, ${outlook(move)}`);
    for (const { guest, why } of stay) say(`    stays  ${guest.name} at ${guest.host}: ${why}`);
    say(
      `${moves.length} guests would be migrated in about ${seconds(endsMs)} at ${bandwidthMiBps} MiB/s each, ${stay.length} would stay; nothing has been changed`,
    );
  }
  return stay.length === 0 ? drainExitCodes.empty : drainExitCodes.someStayed;
}

const outlook = ({ takesMs, forecast }: PlannedMove): string => {
  const about = `about ${seconds(takesMs)}`;
  if (forecast.kind !== "converges") return `${about}; ${describeForecast(forecast)}`;
  // A forecast of 0 is below the time that QEMU itself needs.
  return forecast.downtimeMs === 0 ? about : `${about}, downtime up to ${forecast.downtimeMs} ms`;
};

/** Assumed bandwidth of a migration without a limit. */
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

function tell(guests: readonly GuestStory[], flags: DrainFlags): number {
  const those = (status: GuestStory["status"]) => guests.filter((guest) => guest.status === status);
  const [lost, stayed] = [those("lost"), those("given up")];
  if (flags.json === true) sayJson({ type: "report", guests: guests.map(short) });
  else {
    for (const { guest, status, at, moves, why } of guests) {
      const tries = moves.length > 1 ? `, after ${moves.length} attempts` : "";
      say(
        `${guest.name}: ${status === "arrived" ? `${guest.host} → ${at}` : status}${tries}${why && `: ${why}`}`,
      );
    }
    say(
      `${those("arrived").length} of ${guests.length} guests arrived, ${stayed.length} remain on their hosts, ${lost.length} were lost`,
    );
  }
  if (lost.length > 0) return drainExitCodes.someLost;
  return stayed.length > 0 ? drainExitCodes.someStayed : drainExitCodes.empty;
}

const format = "{name} [{bar}] {value} of {total} migrated, {underWay} in progress, {stayed} failed";
/** With more sources than this, only the total is shown. */
const maxBars = 12;

/** `known` is the number of events recorded before this run; they are not reported again. */
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
    // MultiBar redraws the bars below the line.
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
      // The question is repeated every second; each reason is reported once.
      else if (troubled.get(move.token) !== why)
        note(`${move.from} does not report the state of the migration to ${move.to}; asking again: ${why}`);
      troubled.set(move.token, why);
    },
    note,
    end: () => bars?.stop(),
  };
}
const allName = "all";
const drawEachMs = 100;

/** First Ctrl-C: cancels the drain. Second: exits and leaves migrations under way running. SIGUSR1 suspends and resumes. */
function obeySignals(
  conducted: Conducted,
  flags: DrainFlags,
  id: string,
  note: (sentence: string) => void,
): () => void {
  let interrupts = 0;
  const interrupted = () => {
    interrupts += 1;
    if (interrupts === 1) {
      note("cancelling: migrations under way are cancelled where still possible; press Ctrl-C again to exit");
      conducted.cancel();
      return;
    }
    conducted.detach();
    note(`exiting; migrations under way continue; ${goingOn(flags, id)}`);
    process.exit(drainExitCodes.left);
  };
  let isPaused = false;
  const paused = () => {
    isPaused = !isPaused;
    note(
      isPaused
        ? "drain suspended; migrations under way continue; send SIGUSR1 again to resume"
        : "drain resumed",
    );
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
