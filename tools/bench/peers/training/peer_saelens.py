"""SAELens: SAETrainer's own train step with a training SAE at the library's defaults."""
import warnings

warnings.filterwarnings("ignore")


def make(cell):
    import sae_lens
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sizes = {"d_in": cell.d_in, "d_sae": cell.d_sae}
    name, options = {
        "topk": ("TopK", {"k": cell.k}),
        "batchtopk": ("BatchTopK", {"k": float(cell.k)}),
        "matryoshka_batchtopk": ("MatryoshkaBatchTopK", {"k": float(cell.k), "matryoshka_widths": [cell.d_sae // 16, cell.d_sae // 4, cell.d_sae]}),
        "jumprelu": ("JumpReLU", {}),
    }[cell.architecture]
    sae = getattr(sae_lens, f"{name}TrainingSAE")(getattr(sae_lens, f"{name}TrainingSAEConfig")(**sizes, **options))
    config = SAETrainerConfig(total_training_samples=10**9, train_batch_size_samples=cell.batch, lr=3e-4, lr_end=3e-5, logger=LoggingConfig(log_to_wandb=False))
    trainer = SAETrainer(config, sae, iter([]))
    dead = int(cell.dead * cell.d_sae)

    def step(x):
        trainer.n_forward_passes_since_fired[:dead] = 10**6
        output = trainer.step(x)
        trainer.n_training_steps += 1
        return output.loss.item()

    return sae_lens.__version__, step
