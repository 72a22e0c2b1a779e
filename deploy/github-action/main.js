// Starts the agent before the other steps.
'use strict';
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const martlet = require('./martlet.js');

/** The file that `binary` names. */
function find(name) {
  if (name.includes('/')) return path.resolve(process.env.GITHUB_WORKSPACE || '.', name);
  for (const directory of (process.env.PATH || '').split(':').filter((d) => d.startsWith('/'))) {
    const file = path.join(directory, name);
    if (fs.existsSync(file)) return file;
  }
  throw new Error(`there is no ${name} on PATH; the input binary names it`);
}

/** Copies the binary to where no step can exchange it without being root, and looks at that copy. */
function install(file, sha256) {
  const place = martlet.BINARY;
  if (!fs.existsSync(file)) throw new Error(`there is no ${file}`);
  // The file as it is read here, not the name: what is executed is what was hashed.
  const bytes = fs.readFileSync(file);
  const digest = createHash('sha256').update(bytes).digest('hex');
  if (sha256 !== '' && digest !== sha256) throw new Error(`${file} has SHA-256 ${digest}, not that which was given`);
  martlet.root(['install', '-D', '-o', 'root', '-g', 'root', '-m', '0755', file, place]);
  const copied = createHash('sha256').update(fs.readFileSync(place)).digest('hex');
  if (copied !== digest) {
    martlet.root(['rm', '-f', place]);
    throw new Error(`${file} was changed while it was copied`);
  }
  return digest;
}

martlet.main(() => {
  const report = martlet.reportDirectory();
  const sha256 = martlet.input('sha256').toLowerCase();
  if (sha256 !== '' && !/^[0-9a-f]{64}$/.test(sha256)) throw new Error('sha256 takes 64 hexadecimal digits');
  const timeout = martlet.input('timeout') || '30';
  if (!/^[0-9]{1,4}$/.test(timeout)) throw new Error('timeout takes seconds');
  const config = martlet.input('config');
  const file = find(martlet.input('binary') || 'martlet');
  // Wrong ones are said now, not when the job has run.
  martlet.failOn();
  martlet.truth('summary');

  const digest = install(file, sha256);
  martlet.put('GITHUB_OUTPUT', 'report', report);
  if (martlet.agent('wait-ready', ['--timeout', '0'], { mayFail: true }) !== null) {
    martlet.say('an agent runs on this machine already and watches this job; its report is where that agent keeps them');
    return;
  }
  martlet.root(['mkdir', '-p', path.dirname(martlet.TOKEN)]);
  // Of an earlier job, which has been given it.
  martlet.root(['rm', '-rf', martlet.OUTPUT]);
  const words = ['--output', martlet.OUTPUT, '--token-file', martlet.TOKEN, '--from-here'];
  if (config !== '') words.push('--config', path.resolve(process.env.GITHUB_WORKSPACE || '.', config));
  martlet.agent('start', words);
  martlet.put('GITHUB_STATE', 'started', 'true');
  martlet.agent('wait-ready', ['--timeout', timeout]);
  martlet.say(`watching this job, with ${file} (SHA-256 ${digest})`);
});
