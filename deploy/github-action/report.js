// The step of report/action.yml.
'use strict';
const martlet = require('./martlet.js');
const { ask, hasBegun, handOver } = require('./end.js');

martlet.main(() => {
  if (!hasBegun()) throw new Error('there is no agent that an earlier step has started');
  ask();
  handOver();
});
