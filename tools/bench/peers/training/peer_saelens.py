"""SAELens: SAETrainer's own train step with TopKTrainingSAE at the library's defaults."""
import warnings

warnings.filterwarnings("ignore")


def make(d_in, d_sae, k):
    import sae_lens
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d_in, d_sae=d_sae, k=k))
    config = SAETrainerConfig(total_training_samples=10**9, train_batch_size_samples=1024, lr=3e-4, lr_end=3e-5, logger=LoggingConfig(log_to_wandb=False))
    trainer = SAETrainer(config, sae, iter([]))

    def step(x):
        output = trainer.step(x)
        trainer.n_training_steps += 1
        return output.loss.item()

    return sae_lens.__version__, step
