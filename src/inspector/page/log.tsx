// The event log, with origin and cause, and the QMP dialogue with both QEMUs: both are filtered views of the story's entries.

import { useMemo, useState } from "preact/hooks";
import type { AnswerSeen } from "../../effects/trace.js";
import { describeFailure } from "../../protocol/failure.js";
import { eventName } from "../story/chart.js";
import type { Entry } from "../story/moment.js";
import { type Line, LongList } from "./list.js";
import { type Story, timeOf } from "./model.js";

export function describe(entry: Entry): Pick<Line, "text" | "tone"> {
  switch (entry.kind) {
    case "opened":
      return { text: `starts the migration of ${entry.input.identity.name}` };
    case "woken":
      return { text: `resumes the migration of ${entry.identity.name} after a restart of the engine` };
    case "state": {
      const because = entry.because.map((failure) => `; because ${describeFailure(failure)}`).join("");
      const undone = entry.undone.map((sentence) => `; undone: ${sentence}`).join("");
      return {
        text: `→ ${entry.state}  (${eventName(entry.event)})${because}${undone}`,
        tone: because === "" ? undefined : "bad",
      };
    }
    case "aside": {
      const { aside } = entry;
      if (aside.type === "tuned")
        return {
          text: `new limits: ${aside.bandwidthMiBps} MiB/s, at most ${aside.maxDowntimeMs} ms of downtime`,
        };
      if (aside.type === "measure") return { text: `rule ${aside.rule} ${aside.does}, because ${aside.why}` };
      if (aside.type === "forecast") return { text: `forecast: ${aside.says}` };
      return { text: `${aside.type} ${aside.event}: ${aside.why}` };
    }
    case "tombstone":
      return { text: "queried about a migration that never arrived here: refused permanently" };
    case "call":
      return { text: `${entry.place} started`, tone: "quiet" };
    case "answer":
      return {
        text: `${entry.place}: ${entry.answer}${entry.says === "" ? "" : `: ${entry.says}`}`,
        tone: isWell(entry.answer) ? "quiet" : "bad",
      };
    case "line":
      return { text: `${entry.direction === "sent" ? "⇒" : "⇐"} ${shortened(entry.text)}` };
    case "progress":
      return { text: `progress; ${entry.forecast}`, tone: "quiet" };
    case "move":
      return {
        text: entry.fault ? `FAULT: ${entry.says}` : entry.says,
        tone: entry.fault ? "fault" : "quiet",
      };
  }
}

/** `given up` counts as well: an event already reported the result before the answer arrived. */
const isWell = (answer: AnswerSeen["answer"]): boolean => answer === "done" || answer === "given up";

/** Formats a QMP line without its ids and timestamps; a truncated line is returned unchanged. */
function shortened(text: string): string {
  try {
    const { execute, "exec-oob": oob, arguments: args, event, data, error, return: value } = JSON.parse(text);
    const rest = (json: unknown) => (json === undefined ? "" : ` ${JSON.stringify(json)}`);
    const command: unknown = execute ?? oob;
    if (typeof command === "string")
      return `${command}${rest(args)}${oob === undefined ? "" : " (out of band)"}`;
    if (typeof event === "string") return `event ${event}${rest(data)}`;
    if (error !== undefined) return `error${rest(error)}`;
    return value === undefined ? text : `return${rest(value)}`;
  } catch {
    return text;
  }
}

type Shows = "log" | "monitor";

/** Returns the indices of the visible entries; extended as the story grows. */
function useRows(story: Story, shows: Shows, filter: string, details: boolean): readonly number[] {
  const wanted = filter.trim().toLowerCase();
  // The array lives as long as the filter, so that a growing story is not filtered again from its beginning.
  const kept = useMemo(() => ({ rows: [] as number[], read: 0 }), [story, shows, wanted, details]);
  const { entries } = story.timeline;
  for (; kept.read < entries.length; kept.read += 1) {
    const entry = entries[kept.read];
    if (entry === undefined) continue;
    const isLine = entry.kind === "line";
    if (isLine !== (shows === "monitor")) continue;
    const isDetail = entry.kind === "call" || entry.kind === "answer" || entry.kind === "progress";
    if (isDetail && !details && !(entry.kind === "answer" && !isWell(entry.answer))) continue;
    if (wanted !== "" && !`${entry.side} ${describe(entry).text}`.toLowerCase().includes(wanted)) continue;
    kept.rows.push(kept.read);
  }
  return kept.rows;
}

export function Log({
  story,
  count,
  goTo,
  shows,
}: {
  readonly story: Story;
  readonly count: number;
  readonly goTo: (count: number) => void;
  readonly shows: Shows;
}) {
  const [filter, setFilter] = useState("");
  const [details, setDetails] = useState(false);
  const rows = useRows(story, shows, filter, details);
  const label = shows === "log" ? "events" : "dialogue with QEMU";
  return (
    <section class="panel" aria-label={label}>
      <header>
        <h2>{shows === "log" ? "Events" : "QEMU's monitors"}</h2>
        <label>
          filter{" "}
          <input type="search" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
        </label>
        {shows === "log" && (
          <label>
            <input
              type="checkbox"
              checked={details}
              onChange={(event) => setDetails(event.currentTarget.checked)}
            />{" "}
            calls and progress
          </label>
        )}
        <span class="remark">{`${rows.length}`}</span>
      </header>
      <LongList
        label={label}
        length={rows.length}
        current={lastBefore(rows, count)}
        choose={goTo}
        lines={(row) => {
          const at = rows[row] ?? 0;
          const entry = story.timeline.entries[at];
          if (entry === undefined) return { at, time: "", who: "", text: "" };
          return { at, time: timeOf(story, entry.atMs), who: entry.side, ...describe(entry) };
        }}
      />
      {shows === "monitor" && rows.length === 0 && (
        <p class="remark">A journal does not contain QMP traffic; a live migration and a saved story do.</p>
      )}
    </section>
  );
}

/** Returns the last row whose entry is before the current moment; -1 when there is none. */
function lastBefore(rows: readonly number[], count: number): number {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((rows[middle] ?? 0) < count) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
