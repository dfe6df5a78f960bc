#!/usr/bin/env node
// Plays the demo's titles with hls.js and dash.js in Chromium, and prints a table. Started by `demo --run` (see .ci/players), which
// says in OCA_DEMO_PAGE where the page is. Exit codes: 0 all was right, 1 something was not.

import { Browser } from './browser.mjs';
import { Demo } from './demo.mjs';
import { fallback, forewarned, killed, steered } from './moves.mjs';
import { play } from './play.mjs';

const COLUMNS = ['what', 'player', 'scheme', 'startup', 'stalls', 'longest', 'from', 'note'];
const TITLES = ['what happens', 'player', 'scheme', 'first picture', '"waiting"', 'stood still', 'segments from', 'and'];
const MILLISECONDS = ['startup', 'longest'];

function table(rows) {
  const text = rows.map(row => COLUMNS.map(name => `${row[name]}${MILLISECONDS.includes(name) ? ' ms' : ''}`));
  const lines = [TITLES, ...text];
  const widths = TITLES.map((_, column) => Math.max(...lines.map(line => line[column].length)));
  return lines.map(line => line.map((cell, column) => cell.padEnd(widths[column])).join('  ').trimEnd()).join('\n');
}

async function run() {
  const address = process.env.OCA_DEMO_PAGE;
  if (!address) throw new Error('OCA_DEMO_PAGE is not set: start this with .ci/players');
  const demo = new Demo(address);
  const [rows, problems] = [[], []];
  const browser = await Browser.start();
  const scenes = [[play, 'http'], [play, 'https'], [fallback, 'http'], [killed, 'https'], [forewarned, 'https'], [steered, 'https']];
  const only = (process.env.OCA_SCENES ?? '').split(' ').filter(word => scenes.some(([scene]) => scene.name === word));
  try {
    for (const [scene, scheme] of scenes.filter(([scene]) => only.length === 0 || only.includes(scene.name))) {
      const began = Date.now();
      try {
        rows.push(...await scene(browser, demo, scheme));
      } catch (error) {
        problems.push(`${scene.name} ${scheme}: ${error.message}`);
      }
      console.log(`${scene.name} ${scheme}: ${((Date.now() - began) / 1000).toFixed(0)} s`);
    }
  } finally {
    await browser.stop();
  }
  console.log(`\n${table(rows)}`);
  for (const problem of problems) console.log(`\nNOT right: ${problem}`);
  return problems.length === 0;
}

run().then(isRight => { process.exitCode = isRight ? 0 : 1; }, error => {
  console.error(error);
  process.exitCode = 1;
});
