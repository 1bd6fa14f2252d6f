// Draws one machine as a statechart: its current states are highlighted, visited states show their times.

import { overview, whole } from "virtual:charts";
import { useEffect, useRef } from "preact/hooks";
import { statesIn, topState } from "../../machines/shared/state-name.js";
import type { Side } from "../../protocol/steps.js";
import type { Chart, ChartState } from "../story/chart.js";
import type { SideMoment } from "../story/moment.js";
import { lasted } from "./model.js";

export interface ChartOptions {
  readonly side: Side;
  readonly now: SideMoment | null;
  readonly atMs: number;
  readonly isSimulated: boolean;
  readonly isWhole: boolean;
  readonly isFitted: boolean;
}

const chartOf = (side: Side, isWhole: boolean): Chart => {
  const chart = (isWhole ? whole : overview).find((drawn) => drawn.machine === side);
  if (chart === undefined) throw new Error(`no chart exists for the ${side}`);
  return chart;
};

export function StateChart({ side, now, atMs, isSimulated, isWhole, isFitted }: ChartOptions) {
  const chart = chartOf(side, isWhole);
  const lit = statesIn(now?.state ?? "");
  const top = topState(now?.state ?? "");
  const frame = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const state = chart.states.find((chartState) => chartState.id === top);
    const { current } = frame;
    if (state === undefined || current === null || isFitted) return;
    current.scrollTo({
      left: state.x + state.width / 2 - current.clientWidth / 2,
      top: state.y + Math.min(state.height, 200) / 2 - current.clientHeight / 2,
      behavior: "instant",
    });
  }, [chart, top, isFitted]);
  const size = isFitted ? { width: "100%" } : { width: chart.width, height: chart.height };
  return (
    <div class="chart" ref={frame} tabIndex={0} role="region" aria-label={`statechart of the ${side}`}>
      <svg
        viewBox={`0 0 ${chart.width} ${chart.height}`}
        {...size}
        role="group"
        aria-label={`states of the ${side}`}
      >
        <defs>
          <marker
            id={`tip-${side}`}
            viewBox="0 0 8 8"
            refX="7"
            refY="4"
            markerWidth="7"
            markerHeight="7"
            orient="auto"
          >
            <path d="M0 0 L8 4 L0 8 z" class="tip" />
          </marker>
        </defs>
        {chart.edges.map(({ from, to, events, points }) => (
          <polyline
            key={`${from}>${to}`}
            class={lit.has(from) ? "edge from-lit" : "edge"}
            points={points.join(" ")}
            marker-end={`url(#tip-${side})`}
          >
            <title>{`${from} → ${to}: ${events.join(", ")}`}</title>
          </polyline>
        ))}
        {chart.states.map((state) => (
          <Box
            key={state.id}
            state={state}
            lit={lit}
            now={now}
            atMs={atMs}
            isSimulated={isSimulated}
            isWhole={isWhole}
          />
        ))}
      </svg>
    </div>
  );
}

interface BoxOptions extends Pick<ChartOptions, "now" | "atMs" | "isSimulated" | "isWhole"> {
  readonly state: ChartState;
  readonly lit: ReadonlySet<string>;
}

function Box({ state, lit, now, atMs, isSimulated, isWhole }: BoxOptions) {
  const { id, key, x, y, width, height, says, phase } = state;
  const isLit = lit.has(id);
  const visit = now?.visits[id];
  const isNow = isLit && !id.includes(".");
  const ms = (visit?.totalMs ?? 0) + (isNow ? atMs - (now?.sinceMs ?? atMs) : 0);
  const failed = now?.failedIn === id;
  const names = [
    "state",
    state.kind,
    ...(isLit ? ["lit"] : visit !== undefined ? ["past"] : []),
    ...(failed ? ["failed"] : []),
    ...(state.isPointOfNoReturn ? ["no-return"] : []),
  ];
  const time =
    visit === undefined ? "" : `${lasted(ms, isSimulated)}${visit.times > 1 ? ` in ${visit.times}` : ""}`;
  const inner = isNow && !isWhole ? (now?.state ?? "").slice(key.length).replace(/^\./, "") : "";
  const label = [
    key,
    says,
    ...(isLit ? ["current state"] : visit === undefined ? [] : ["visited"]),
    ...(time === "" ? [] : [time]),
    ...(failed ? ["failed here"] : []),
    ...(phase === null ? [] : [`libvirt phase ${phase}`]),
    ...(state.isPointOfNoReturn ? ["after the point of no return"] : []),
  ].join("; ");
  return (
    <g class={names.join(" ")} role="img" aria-label={label} data-state={id}>
      <title>{label}</title>
      <rect x={x} y={y} width={width} height={height} rx={state.kind === "final" ? 14 : 5} />
      <text x={x + 10} y={y + 18} class="key">
        {failed ? `✗ ${key}` : key}
      </text>
      {!isWhole && (
        <text x={x + 10} y={y + 36} class="time">
          {[time, inner]
            .filter((text) => text !== "")
            .join(" · ")
            .slice(0, Math.max(8, Math.floor(width / 6)))}
        </text>
      )}
    </g>
  );
}

/** The same data as a table, for screen readers. */
export function Visits({ side, now, atMs, isSimulated }: Omit<ChartOptions, "isWhole" | "isFitted">) {
  const rows = Object.entries(now?.visits ?? {});
  const top = topState(now?.state ?? "");
  return (
    <details class="visits">
      <summary>{`${rows.length} visited states of the ${side}, with times`}</summary>
      <table>
        <thead>
          <tr>
            <th scope="col">state</th>
            <th scope="col">visits</th>
            <th scope="col">time in state</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, visit]) => (
            <tr key={name}>
              <th scope="row">{name === top ? `${name} (now)` : name}</th>
              <td>{visit.times}</td>
              <td>
                {lasted(visit.totalMs + (name === top ? atMs - (now?.sinceMs ?? atMs) : 0), isSimulated)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}
