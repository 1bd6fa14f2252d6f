// One story, seen from all sides: both machines and the coordinator, what they said, what happened, and how it stands.

import { useState } from "preact/hooks";
import type { Side } from "../../protocol/steps.js";
import { sides } from "../story/moment.js";
import { StateChart, Visits } from "./chart.js";
import { Graphs } from "./graphs.js";
import { Log } from "./log.js";
import type { Story } from "./model.js";
import { FailurePanel, GuaranteePanel } from "./panels.js";
import { Sequence } from "./sequence.js";

export function Watch({
  story,
  count,
  goTo,
  isSmall,
}: {
  readonly story: Story;
  readonly count: number;
  readonly goTo: (count: number) => void;
  readonly isSmall: boolean;
}) {
  const [isWhole, setWhole] = useState(false);
  const [isFitted, setFitted] = useState(false);
  const [side, setSide] = useState<Side>("source");
  const moment = story.timeline.at(count);
  const { atMs } = moment;
  const shown = isSmall ? [side] : sides;
  return (
    <>
      <section class="charts" aria-label="machines">
        <header>
          <h2>Machines</h2>
          {isSmall && (
            <div role="radiogroup" aria-label="side" class="choices">
              {sides.map((item) => (
                <label key={item}>
                  <input type="radio" name="side" checked={item === side} onChange={() => setSide(item)} />{" "}
                  {item}
                </label>
              ))}
            </div>
          )}
          <label>
            <input
              type="checkbox"
              checked={isWhole}
              onChange={(event) => setWhole(event.currentTarget.checked)}
            />{" "}
            inner states
          </label>
          <label>
            <input
              type="checkbox"
              checked={isFitted}
              onChange={(event) => setFitted(event.currentTarget.checked)}
            />{" "}
            all at once
          </label>
        </header>
        <div class="row">
          {shown.map((item) => {
            const now = moment.sides[item];
            const wish = { side: item, now, atMs, isSimulated: story.isSimulated };
            return (
              <article key={item} class={`side ${item}`} aria-label={item}>
                <h3>
                  {item}{" "}
                  <span class="now" data-testid={`state-${item}`}>
                    {now === null ? "not begun" : now.state || "begins"}
                  </span>
                </h3>
                <StateChart {...{ ...wish, isWhole, isFitted }} />
                <Visits {...wish} />
              </article>
            );
          })}
        </div>
      </section>
      <div class="columns">
        <section class="panel" aria-label="messages">
          <header>
            <h2>Messages</h2>
          </header>
          <Sequence {...{ story, count }} />
        </section>
        <Log {...{ story, count, goTo }} shows="log" />
        <GuaranteePanel {...{ story, moment, goTo }} />
        <FailurePanel moment={moment} />
        {!story.isSimulated && (
          <>
            <Graphs {...{ story, count }} />
            <Log {...{ story, count, goTo }} shows="monitor" />
          </>
        )}
      </div>
    </>
  );
}
