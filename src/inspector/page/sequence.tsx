// Draws the messages between the parties as a sequence chart; a lost message ends in a cross.

import { fateOf, type Message } from "../story/message-sequence.js";
import { sides } from "../story/moment.js";
import { type Story, timeOf } from "./model.js";

const most = 300;
const rowHeight = 30;
const width = 620;
const lanes = { source: 120, coordinator: 310, destination: 500 } as const;

/** Returns the message as it was known after `count` entries. */
function asOf(message: Message, count: number): Message {
  const isKnown = (at: number | null) => at !== null && at < count;
  const isAnswered = isKnown(message.answeredAt);
  return {
    ...message,
    arrivedAt: isKnown(message.arrivedAt) ? message.arrivedAt : null,
    answeredAt: isAnswered ? message.answeredAt : null,
    answer: isAnswered ? message.answer : null,
  };
}

const words = (message: Message): string => {
  const fate = fateOf(message);
  if (fate === "answered")
    return message.answer === "failed" ? `failed: ${message.answerSays}` : message.answerSays || "done";
  if (fate === "asked") return message.arrivedAt === null ? "in transit" : "arrived";
  return fate;
};

export function Sequence({ story, count }: { readonly story: Story; readonly count: number }) {
  const sent = story.exchange.messages
    .filter((message) => message.sentAt < count)
    .map((message) => asOf(message, count));
  const shown = sent.slice(-most);
  const height = 40 + shown.length * rowHeight;
  return (
    <div class="sequence" tabIndex={0} role="region" aria-label="messages between the parties">
      {sent.length > most && <p class="remark">{`${sent.length - most} earlier messages are not drawn`}</p>}
      {sent.length === 0 && <p class="remark">No messages yet.</p>}
      <svg viewBox={`0 0 ${width} ${height}`} role="list" aria-label="messages">
        {sides.map((side) => (
          <g key={side} class="lane" aria-hidden="true">
            <text x={lanes[side]} y={16} text-anchor="middle">
              {side}
            </text>
            <line x1={lanes[side]} x2={lanes[side]} y1={24} y2={height} />
          </g>
        ))}
        {shown.map((message, row) => (
          <Arrow
            key={`${message.sentAt} ${message.question}`}
            story={story}
            message={message}
            y={42 + row * rowHeight}
          />
        ))}
      </svg>
    </div>
  );
}

function Arrow({
  story,
  message,
  y,
}: {
  readonly story: Story;
  readonly message: Message;
  readonly y: number;
}) {
  const { from, to, says, sentMs, answeredMs, answeredAt } = message;
  const fate = fateOf(message);
  const [start, end] = [lanes[from], lanes[to]];
  const sign = Math.sign(end - start);
  const reach = fate === "lost" ? start + (end - start) * 0.6 : end - sign * 4;
  const isBack = fate === "answered" || fate === "answer lost";
  const back = fate === "answer lost" ? end - (end - start) * 0.6 : start + sign * 4;
  const took =
    answeredAt === null || answeredMs === null ? "" : `, after ${Math.round(answeredMs - sentMs)} ms`;
  const label = `${timeOf(story, sentMs)}: the ${from} to the ${to}: ${says}; ${words(message)}${story.isSimulated ? "" : took}`;
  return (
    <g
      class={`message ${fate.replace(" ", "-")} ${message.answer === "failed" ? "refused" : ""}`}
      role="listitem"
      aria-label={label}
    >
      <title>{label}</title>
      <line x1={start} y1={y} x2={reach} y2={y} />
      {fate === "lost" ? <Cross x={reach} y={y} /> : <Tip x={reach} y={y} sign={sign} />}
      {isBack && <line class="back" x1={end} y1={y + 9} x2={back} y2={y + 9} />}
      {fate === "answered" && <Tip x={back} y={y + 9} sign={-sign} />}
      {fate === "answer lost" && <Cross x={back} y={y + 9} />}
      <text x={(start + end) / 2} y={y - 4} text-anchor="middle">
        {says}
      </text>
      <text class="fate" x={Math.max(start, end) + 8} y={y + 6}>
        {words(message).slice(0, 18)}
      </text>
      <text class="fate" x={4} y={y + 4}>
        {timeOf(story, sentMs)}
      </text>
    </g>
  );
}

const Tip = ({ x, y, sign }: { readonly x: number; readonly y: number; readonly sign: number }) => (
  <path class="tip" d={`M${x} ${y} l${-7 * sign} -4 v8 z`} />
);
const Cross = ({ x, y }: { readonly x: number; readonly y: number }) => (
  <path class="cross" d={`M${x - 5} ${y - 5} l10 10 m0 -10 l-10 10`} />
);
