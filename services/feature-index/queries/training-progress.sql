-- Loss, explained variance and sparsity of a training run over its steps. run: trainingRuns/{run}.
SELECT step, n_training_tokens, loss, fvu, l0, dead_fraction, tokens_per_second, recorded_at
FROM training_metrics WHERE training_run = {run:String} ORDER BY step
