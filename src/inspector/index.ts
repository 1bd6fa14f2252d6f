// `switchover/inspector`: serves the page that shows running migrations and their stories afterwards, from an embedder's own
// process.

export { Hub, type HubOptions } from "./server/hub.js";
export type { GivenStory } from "./server/page-file.js";
export { type Inspector, type InspectorOptions, serveInspector } from "./server/serve.js";
export type { Entry } from "./story/moment.js";
export { readStoryText, type StoryText, StoryTextError, storyTextOf } from "./story/story-text.js";
export { type WhoRuns, whoRuns } from "./story/who-runs.js";
