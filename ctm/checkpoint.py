def infer_in_features(config, shapes):
    if "initial_rgb.weight" in shapes: return shapes["initial_rgb.weight"][1]
    if "backbone.layers.0.weight" in shapes: return shapes["backbone.layers.0.weight"][1]
    if config.backbone_type=="none":
        if config.heads: return shapes["kv_proj.0.weight"][1]
        e = "synapses.1.weight" if config.synapse_depth==1 else "synapses.first_projection.0.weight"
        return shapes[e][1]-config.d_model
    return None
