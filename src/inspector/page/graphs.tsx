// Draws remaining memory, dirty rate, bandwidth and expected downtime over time with uPlot.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { Progress } from "../../protocol/convergence/limits.js";
import { useSize } from "./hooks.js";
import type { Story } from "./model.js";

interface Series {
  readonly label: string;
  readonly read: (progress: Progress) => number | null;
}

const mebibytes = (bytes: number): number => bytes / 2 ** 20;
const graphs: readonly {
  readonly title: string;
  readonly unit: string;
  readonly series: readonly Series[];
}[] = [
  {
    title: "Remaining memory",
    unit: "MiB",
    series: [{ label: "remaining", read: (progress) => mebibytes(progress.remainingBytes) }],
  },
  {
    title: "Rates",
    unit: "MiB/s",
    series: [
      { label: "bandwidth", read: (progress) => mebibytes(progress.bandwidthBytesPerSecond) },
      { label: "dirty rate", read: (progress) => mebibytes(progress.dirtyBytesPerSecond) },
    ],
  },
  {
    title: "Expected downtime",
    unit: "ms",
    series: [{ label: "downtime", read: (progress) => progress.expectedDowntimeMs }],
  },
];

/** More points than pixels would not be visible. */
const maxPoints = 2000;

export function Graphs({ story, count }: { readonly story: Story; readonly count: number }) {
  const { timeline, progressAt } = story;
  const { progress, forecast } = timeline.at(count);
  const step = Math.max(1, Math.ceil(progressAt.length / maxPoints));
  const points = progressAt
    .filter((_, index) => index % step === 0 || index === progressAt.length - 1)
    .flatMap((at) => {
      const entry = timeline.entries[at];
      return entry?.kind === "progress" ? [entry] : [];
    });
  const firstMs = timeline.entries[0]?.atMs ?? 0;
  const nowS = (timeline.at(count).atMs - firstMs) / 1000;
  return (
    <section class="panel" aria-label="progress">
      <header>
        <h2>Progress</h2>
        <span class="remark">{forecast === "" ? "" : `forecast: ${forecast}`}</span>
      </header>
      {points.length === 0 ? (
        <p class="remark">A journal does not contain progress; a live migration and a saved story do.</p>
      ) : (
        <div class="graphs">
          {graphs.map(({ title, unit, series }) => (
            <Graph
              key={title}
              title={title}
              unit={unit}
              nowS={nowS}
              labels={series.map((row) => row.label)}
              data={[
                points.map((point) => (point.atMs - firstMs) / 1000),
                ...series.map(({ read }) => points.map((point) => read(point.progress))),
              ]}
              says={
                progress === null
                  ? ""
                  : series
                      .map((row) => `${row.label} ${row.read(progress)?.toFixed(1) ?? "unknown"} ${unit}`)
                      .join(", ")
              }
            />
          ))}
        </div>
      )}
    </section>
  );
}

interface GraphOptions {
  readonly title: string;
  readonly unit: string;
  readonly labels: readonly string[];
  readonly data: readonly (readonly (number | null)[])[];
  readonly nowS: number;
  readonly says: string;
}

function Graph({ title, unit, labels, data, nowS, says }: GraphOptions) {
  const { ref, width } = useSize<HTMLDivElement>();
  const plot = useRef<uPlot | null>(null);
  const now = useRef(nowS);
  now.current = nowS;
  useEffect(() => {
    if (ref.current === null || width === 0) return undefined;
    // A canvas does not support light-dark(): the computed style of an element resolves it.
    const probe = ref.current;
    const colour = (name: string) => {
      probe.style.color = `var(${name})`;
      return getComputedStyle(probe).color;
    };
    const ink = () => colour("--quiet");
    const axis = {
      stroke: ink,
      grid: { stroke: () => colour("--line"), width: 1 },
      ticks: { show: false },
      size: 44,
    };
    const drawn = new uPlot(
      {
        width,
        height: 150,
        legend: { show: false },
        scales: { x: { time: false } },
        axes: [{ ...axis, size: 26, values: (_, all) => all.map((seconds) => `${seconds} s`) }, axis],
        series: [
          {},
          ...labels.map((label, index) => ({
            label,
            stroke: () => colour(`--series-${index + 1}`),
            width: 1.5,
            spanGaps: true,
          })),
        ],
        hooks: {
          draw: [
            ({ ctx, bbox, valToPos }: uPlot) => {
              const x = valToPos(now.current, "x", true);
              ctx.strokeStyle = colour("--lit");
              ctx.beginPath();
              ctx.moveTo(x, bbox.top);
              ctx.lineTo(x, bbox.top + bbox.height);
              ctx.stroke();
            },
          ],
        },
      },
      data as uPlot.AlignedData,
      ref.current,
    );
    plot.current = drawn;
    return () => drawn.destroy();
  }, [width, labels.length]);
  useEffect(() => plot.current?.setData(data as uPlot.AlignedData), [data]);
  return (
    <figure>
      <figcaption>
        {`${title}, ${unit}`} <span class="remark">{says}</span>
      </figcaption>
      <div ref={ref} class="plot" role="img" aria-label={`${title}: ${says}`} />
    </figure>
  );
}
