// A virtual list: only visible lines are in the document, so that 100,000 entries scroll as fast as ten.

import { useEffect, useState } from "preact/hooks";
import { useSize } from "./hooks.js";

export interface Line {
  /** Index of the entry. */
  readonly at: number;
  readonly time: string;
  readonly who: string;
  readonly text: string;
  readonly tone?: "bad" | "fault" | "quiet" | undefined;
}

const rowHeight = 24;

export function LongList({
  label,
  lines,
  length,
  current,
  choose,
}: {
  readonly label: string;
  /** Returns the line of a row. */
  readonly lines: (row: number) => Line;
  readonly length: number;
  /** The row of the current moment. */
  readonly current: number;
  readonly choose: (at: number) => void;
}) {
  const { ref, height } = useSize<HTMLDivElement>();
  const [scrolled, setScrolled] = useState(0);
  useEffect(() => {
    const { current: element } = ref;
    if (element === null || current < 0) return;
    const top = current * rowHeight;
    if (top < element.scrollTop || top + rowHeight > element.scrollTop + element.clientHeight)
      element.scrollTop = top - element.clientHeight / 2;
  }, [current, length]);
  const first = Math.max(0, Math.floor(scrolled / rowHeight) - 10);
  const last = Math.min(length, Math.ceil((scrolled + Math.max(height, 200)) / rowHeight) + 10);
  const rows = Array.from({ length: Math.max(0, last - first) }, (_, index) => first + index);
  return (
    <div
      class="list"
      ref={ref}
      tabIndex={0}
      role="region"
      aria-label={label}
      onScroll={(event) => setScrolled(event.currentTarget.scrollTop)}
    >
      <ol style={{ height: `${length * rowHeight}px` }} aria-label={`${label}: ${length}`}>
        {rows.map((row) => {
          const { at, time, who, text, tone } = lines(row);
          return (
            <li
              key={at}
              style={{ top: `${row * rowHeight}px` }}
              aria-setsize={length}
              aria-posinset={row + 1}
            >
              <button
                type="button"
                tabIndex={-1}
                class={`line ${tone ?? ""} ${row === current ? "current" : ""}`}
                aria-current={row === current ? "step" : undefined}
                title={text}
                onClick={() => choose(at + 1)}
              >
                <span class="when">{time}</span>
                <span class={`who ${who}`}>{who}</span>
                <span class="what">{text}</span>
              </button>
            </li>
          );
        })}
      </ol>
    </div>
  );
}
