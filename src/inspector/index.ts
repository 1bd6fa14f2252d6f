// `switchover/inspector`: the page that shows migrations while they run, and their stories afterwards, for an embedder's
// own process.

export { Hub, type HubOptions } from "./hub.js";
export type { Entry } from "./moment.js";
export type { GivenStory } from "./page-file.js";
export { type Inspector, type InspectorOptions, serveInspector } from "./serve.js";
export { readStoryText, type StoryText, StoryTextError, storyTextOf } from "./story-text.js";
export { type WhoRuns, whoRuns } from "./who-runs.js";
