// The complete view of one story: the three machines, their messages, the events and the current verdicts.

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
              {sides.map((name) => (
                <label key={name}>
                  <input type="radio" name="side" checked={name === side} onChange={() => setSide(name)} />{" "}
                  {name}
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
            nested states
          </label>
          <label>
            <input
              type="checkbox"
              checked={isFitted}
              onChange={(event) => setFitted(event.currentTarget.checked)}
            />{" "}
            fit to width
          </label>
        </header>
        <div class="row">
          {shown.map((name) => {
            const now = moment.sides[name];
            const options = { side: name, now, atMs, isSimulated: story.isSimulated };
            return (
              <article key={name} class={`side ${name}`} aria-label={name}>
                <h3>
                  {name}{" "}
                  <span class="now" data-testid={`state-${name}`}>
                    {now === null ? "not started" : now.state || "starting"}
                  </span>
                </h3>
                <StateChart {...options} isWhole={isWhole} isFitted={isFitted} />
                <Visits {...options} />
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
          <Sequence story={story} count={count} />
        </section>
        <Log story={story} count={count} goTo={goTo} shows="log" />
        <GuaranteePanel story={story} moment={moment} goTo={goTo} />
        <FailurePanel moment={moment} />
        {!story.isSimulated && (
          <>
            <Graphs story={story} count={count} />
            <Log story={story} count={count} goTo={goTo} shows="monitor" />
          </>
        )}
      </div>
    </>
  );
}
